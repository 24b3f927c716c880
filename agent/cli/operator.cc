// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"
#include "agent/cli/passphrase.h"
#include "agent/cli/table.h"
#include "agent/cli/terminal.h"
#include "agent/trust/key_file.h"

namespace starling::agent {
namespace {

using control::OperatorsRequest;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"name", "NAME", false, "keygen: what the operator is called (default: $USER)"},
    {"out", "FILE", false,
     "keygen: where the secret key goes; the public one goes to FILE.pub (default: "
     "~/.config/starling/operator.key)"},
    {"no-passphrase", "", false,
     "keygen: leave the secret key readable for whoever reads the file (default: false)"},
    {"passphrase-file", "FILE", false,
     "keygen: read the passphrase from a file, - for standard input (default: ask at the "
     "terminal)"},
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

// --- keygen ------------------------------------------------------------------------------------

/// Makes missing folders, readable for nobody else.
Result<void> make_parent(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  std::filesystem::path made;
  for (const auto& part : parent) {
    made /= part;
    if (::mkdir(made.c_str(), 0700) == 0 || errno == EEXIST || errno == EISDIR) continue;
    return fail(ErrorKind::kUnavailable,
                made.string() + ": cannot make this folder: " + std::strerror(errno));
  }
  return {};
}

Result<void> write_public(const std::string& path, const std::string& line) {
  std::ofstream file(path, std::ios::trunc);
  file << line << "\n" << std::flush;
  if (file.good()) return {};
  return fail(ErrorKind::kUnavailable, path + ": cannot write: " + std::strerror(errno));
}

std::string default_path(const Context& context) {
  if (const auto config = context.environment.get("XDG_CONFIG_HOME")) {
    return *config + "/starling/operator.key";
  }
  const auto home = context.environment.get("HOME");
  return home ? *home + "/.config/starling/operator.key" : "";
}

int keygen(const Invocation& invocation, Context& context, Format format) {
  if (invocation.arguments.size() != 1) {
    return usage_error(invocation, context, "operator keygen takes no further arguments");
  }
  const std::string name = invocation.value("name", context.environment.get("USER").value_or(""));
  if (auto valid = check_operator_name(name); !valid) {
    return usage_error(invocation, context, "-name: " + valid.error().message);
  }
  const std::string path = invocation.value("out", default_path(context));
  if (path.empty()) {
    return usage_error(invocation, context, "say where the key goes: -out FILE ($HOME is not set)");
  }
  if (::access(path.c_str(), F_OK) == 0) {
    report(context, {ErrorKind::kConflict,
                     path + ": there is a file of this name; move it, or choose another -out"});
    return 1;
  }
  std::optional<SecretBytes> passphrase;
  if (!invocation.enabled("no-passphrase")) {
    passphrase = read_passphrase(invocation, context,
                                 "Passphrase for the new key: ", "The same passphrase again: ");
    if (!passphrase) return 1;
  }
  const SigningKey key = SigningKey::generate();
  const NamedKey owner{key.public_key(), name};
  auto written = make_parent(path);
  if (written) written = write_key_file(path, name, key, passphrase ? &*passphrase : nullptr);
  if (written) written = write_public(path + ".pub", owner.line());
  if (!written) {
    report(context, written.error());
    return 1;
  }
  if (format == Format::kJson) {
    context.out << field_json("key", owner.line()) << "\n";
  } else {
    context.out << owner.line() << "\n";
  }
  context.err << "The secret key is in " << path << ", the line above also in " << path
              << ".pub\nOn each host: starling operator trust " << path << ".pub\n";
  return 0;
}

// --- whom the agent trusts ---------------------------------------------------------------------

void print(Context& context, const control::OperatorsReply& reply) {
  std::vector<std::vector<Cell>> rows;
  for (const control::Operator& each : reply.operators()) {
    rows.push_back(
        {{each.name()},
         {each.id()},
         {each.revoked() ? "revoked" : "trusted", each.revoked() ? Color::kRed : Color::kGreen},
         {each.source()},
         {local_time(each.since_ms())}});
  }
  context.out << format_table(rows, uses_color(context));
}

/// A word as it is; of a file's name, the first line of the file.
std::string line_of(const std::string& word) {
  std::ifstream file(word);
  std::string line;
  if (word.find(' ') == std::string::npos && std::getline(file, line)) return line;
  return word;
}

int ask_agent(const Invocation& invocation, Context& context, Format format,
              OperatorsRequest::Action action) {
  control::Request request;
  request.mutable_operators()->set_action(action);
  std::string who;
  for (size_t i = 1; i < invocation.arguments.size(); ++i) {
    who += (who.empty() ? "" : " ") + invocation.arguments[i];
  }
  if (action == OperatorsRequest::TRUST) {
    const auto named = NamedKey::parse(line_of(who));
    if (!named) {
      report(context, {named.error().kind, who + ": " + named.error().message});
      return 1;
    }
    request.mutable_operators()->set_who(named->line());
  } else if (action == OperatorsRequest::REVOKE) {
    request.mutable_operators()->set_who(line_of(who));
  }
  const auto reply = ask(invocation, context, request, "Error");
  if (!reply) return 1;
  if (format == Format::kJson) {
    context.out << operators_json(reply->operators()) << "\n";
  } else {
    print(context, reply->operators());
  }
  return 0;
}

int run(const Invocation& invocation, Context& context) {
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  const std::string what = invocation.arguments.empty() ? "" : invocation.arguments[0];
  if (what == "keygen") return keygen(invocation, context, *format);
  const size_t words = invocation.arguments.size();
  if (what == "list" && words == 1) {
    return ask_agent(invocation, context, *format, OperatorsRequest::LIST);
  }
  if (what == "trust" && words > 1) {
    return ask_agent(invocation, context, *format, OperatorsRequest::TRUST);
  }
  if (what == "revoke" && words > 1) {
    return ask_agent(invocation, context, *format, OperatorsRequest::REVOKE);
  }
  return usage_error(invocation, context,
                     "say what: keygen, list, trust KEY, trust FILE.pub, or revoke NAME");
}

}  // namespace

const Command& operator_command() {
  static const Command kCommand = {
      .name = "operator",
      .arguments = "keygen | list | trust KEY | revoke NAME",
      .summary = "Makes operators' keys, and says whom the agent trusts",
      .description =
          "An operator signs orders with a key of his own (-sign of event, query, force-leave, "
          "keys, tags and job), and each agent's policy says which operator may order what. "
          "'keygen' makes a key, under a passphrase, and prints the public half. 'trust' gives "
          "that "
          "half to the agent of this host, as a line or a file that holds it; 'revoke' takes it "
          "away again, by name, id or line; 'list' shows whom the agent trusts.\n\n"
          "Only root and the user that the agent runs as may trust and revoke. keygen needs no "
          "agent.",
      .example =
          "$ starling operator keygen -name alice -out alice.key\n"
          "Passphrase for the new key:\n"
          "The same passphrase again:\n"
          "starling-operator 1 oVjjKK3lqTOQgMq1aRrPkCpOGMEa5jYQn+gGr7pZQ1Q= alice\n"
          "$ starling operator trust alice.key.pub\n"
          "alice  62e2f1c24a5f2d01  trusted  trust  2026-01-02T03:04:05",
      .flags = kFlags,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
