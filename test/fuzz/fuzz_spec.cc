// SPDX-License-Identifier: Apache-2.0
//
// What a handler is to run on: Serf's FILTER=COMMAND, subscriptions with wildcards and tags, and
// their meeting with an event. Lines of the input: the first one is the specification, the second
// one the name of an event; a specification that is understood is understood again as it is
// written.
#include <cstdlib>
#include <string>
#include <string_view>

#include "handlers/policy.h"
#include "handlers/spec.h"

namespace {

using namespace starling::handlers;  // NOLINT(google-build-using-namespace)

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

Event make_event(std::string_view name, uint8_t kind) {
  Event event;
  event.type = static_cast<EventType>(kind % 7);
  event.name = name;
  event.members.emplace_back();
  event.members[0].name = name;
  event.members[0].tags["role"] = name;
  return event;
}

void meet(const HandlerSpec& spec, const Event& event) {
  for (size_t entry = 0; entry < spec.entries(); ++entry) {
    static_cast<void>(spec.matches(entry, event));
    static_cast<void>(spec.entry_name(entry));
  }
  if (spec.picks_members()) static_cast<void>(spec.narrowed(event));
  if (spec.program().empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view line = take_line(text);
  const Event event = make_event(take_line(text), data[0]);
  if (const auto spec = HandlerSpec::parse(line)) {
    meet(*spec, event);
    const auto again = HandlerSpec::parse(spec->to_string());
    if (!again || !(again->filters == spec->filters) || again->command != spec->command) {
      std::abort();
    }
  }
  if (const auto subscription = Subscription::parse(line)) {
    HandlerPolicy policy;
    policy.on.push_back(*subscription);
    if (const auto spec = HandlerSpec::make(policy, "true", HandlerLimits{})) meet(*spec, event);
  }
  static_cast<void>(parse_io_priority(line));
  static_cast<void>(parse_missed_events(line));
  return 0;
}
