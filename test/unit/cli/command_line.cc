// SPDX-License-Identifier: Apache-2.0
#include "test/unit/cli/command_line.h"

#include <optional>
#include <sstream>

#include "test/catch.h"

namespace starling::agent::test {

Outcome run(const Words& words, const std::string& control, Terminal terminal,
            const AgentRunner& run_agent, const std::string& input) {
  std::ostringstream out;
  std::ostringstream err;
  std::istringstream in(input);
  Context context{out, err, terminal.out, terminal.err, {}, run_agent, nullptr, false, &in};
  context.environment.variable = [&](const std::string& name) -> std::optional<std::string> {
    return name == "STARLING_CONTROL" ? std::optional(control) : std::nullopt;
  };
  Outcome outcome;
  outcome.status = run_cli(words, context);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

void check(const Outcome& outcome, int status, const std::string& out, const std::string& err) {
  CHECK(outcome.status == status);
  CHECK(outcome.out == out);
  CHECK(outcome.err == err);
}

void contains(const std::string& text, const std::string& part) {
  INFO("looking for '" << part << "' in '" << text << "'");
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
}

void set(control::KeyValue* pair, const std::string& key, const std::string& value) {
  pair->set_key(key);
  pair->set_value(value);
}

control::Reply members_reply(const control::Request& request) {
  control::Reply reply = last_reply(request);
  control::Member& first = *reply.mutable_members()->add_members();
  first.set_name("a1");
  first.set_address(std::string("\x7f\0\0\x1f", 4));
  first.set_port(7946);
  first.set_status("alive");
  first.set_protocol_min(2);
  first.set_protocol_max(5);
  first.set_id("0a");
  first.set_incarnation(9);
  first.set_round_trip_us(1500);
  first.set_self(true);
  set(first.add_tags(), "dc", "x");
  set(first.add_tags(), "role", "web");
  control::Member& second = *reply.mutable_members()->add_members();
  second = first;
  second.set_name("longername2");
  second.set_status("failed");
  second.set_round_trip_us(-1);
  second.set_self(false);
  second.clear_tags();
  return reply;
}

void answer_members(const SessionPtr& session, const control::Request& request) {
  session->send(members_reply(request));
}

FakeAgent::Answer always(const control::Reply& pattern) {
  return [pattern](const SessionPtr& session, const control::Request& request) {
    control::Reply reply = pattern;
    reply.set_id(request.id());
    reply.set_done(true);
    session->send(reply);
  };
}

}  // namespace starling::agent::test
