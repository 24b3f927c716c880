// SPDX-License-Identifier: Apache-2.0
#include "handlers/coalesce.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "proto/support/assert.h"

namespace starling::handlers {
namespace {

/// FNV-1a, each string with its length, so that no two lists of strings run together.
class Hash {
 public:
  void add(std::string_view text) {
    add_number(text.size());
    for (const char c : text) mix(static_cast<unsigned char>(c));
  }
  [[nodiscard]] uint64_t value() const { return state_; }

 private:
  void add_number(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) mix(static_cast<unsigned char>(number >> shift));
  }
  void mix(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3U; }

  uint64_t state_ = 0xcbf29ce484222325U;
};

uint64_t facts_of(const Member& member) {
  Hash hash;
  hash.add(member.address);
  for (const auto& [key, value] : member.tags) {
    hash.add(key);
    hash.add(value);
  }
  return hash.value();
}

bool is_present(EventType type) {
  return type == EventType::kMemberJoin || type == EventType::kMemberUpdate;
}

}  // namespace

Coalesced MemberCoalescer::offer(TimePoint now, Event event) {
  STARLING_ASSERT(is_member_event(event.type));
  // What was due goes first: a timer that fires late must not widen the window.
  Coalesced out = advance(now);
  if (event.members.empty()) return out;
  if (pending_.empty()) window_start_ = now;
  last_arrival_ = now;
  for (Member& member : event.members) take(event.type, std::move(member), event.id);
  if (window_.off() || pending_.size() >= kMaxPending) {
    Coalesced rest = flush();
    std::ranges::move(rest.events, std::back_inserter(out.events));
  }
  return out;
}

void MemberCoalescer::take(EventType type, Member member, const std::string& event_id) {
  std::string name = member.name;
  const auto found = pending_.find(name);
  if (found == pending_.end()) {
    pending_.emplace(std::move(name), Pending{type, std::move(member), event_id, arrivals_++});
    return;
  }
  Pending& pending = found->second;
  const bool keeps_join =
      pending.type == EventType::kMemberJoin && type == EventType::kMemberUpdate;
  pending = Pending{keeps_join ? pending.type : type, std::move(member), event_id, arrivals_++};
}

bool MemberCoalescer::worth_telling(Pending& pending) {
  const uint64_t facts = facts_of(pending.member);
  const auto known = known_.find(pending.member.name);
  if (known != known_.end()) {
    if (pending.type == EventType::kMemberJoin && is_present(known->second.type)) {
      if (known->second.facts == facts) return false;
      pending.type = EventType::kMemberUpdate;
      // The same event may end up as a join of other members, under its own id.
      if (!pending.event_id.empty()) pending.event_id += "/update";
    } else if (pending.type == known->second.type && pending.type != EventType::kMemberUpdate) {
      return false;
    }
  }
  if (pending.type == EventType::kMemberReap) {
    if (known != known_.end()) known_.erase(known);  // gone for good: nothing to remember
    return true;
  }
  if (known == known_.end() && known_.size() >= kMaxKnown) known_.clear();
  known_[pending.member.name] = Known{pending.type, facts};
  return true;
}

Coalesced MemberCoalescer::flush() {
  std::vector<Pending> survivors;
  survivors.reserve(pending_.size());
  for (auto& [name, pending] : pending_) survivors.push_back(std::move(pending));
  pending_.clear();
  window_start_ = last_arrival_ = kNever;
  ask_again_ = TimePoint::min();
  std::ranges::sort(survivors, {}, &Pending::arrival);

  Coalesced out;
  for (Pending& survivor : survivors) {
    if (!worth_telling(survivor)) continue;
    auto group = std::ranges::find(out.events, survivor.type, &Event::type);
    if (group == out.events.end()) {
      Event event;
      event.type = survivor.type;
      out.events.push_back(std::move(event));
      group = std::prev(out.events.end());
    }
    group->id = std::move(survivor.event_id);
    group->members.push_back(std::move(survivor.member));
  }
  return out;
}

TimePoint MemberCoalescer::next_deadline() const {
  if (pending_.empty()) return kNever;
  const Duration quiet =
      pending_.size() == 1 ? std::min(window_.alone, window_.quiet) : window_.quiet;
  return std::min(std::max(last_arrival_ + quiet, ask_again_), window_start_ + window_.longest);
}

bool MemberCoalescer::wait_for_more() const {
  const bool failures = std::ranges::any_of(
      pending_, [](const auto& one) { return one.second.type == EventType::kMemberFailed; });
  return failures && more_coming_ && more_coming_();
}

Coalesced MemberCoalescer::advance(TimePoint now) {
  if (next_deadline() > now) return {};
  if (now < window_start_ + window_.longest && wait_for_more()) {
    ask_again_ = now + kAskAgain;
    return {};
  }
  return flush();
}

TimePoint UserCoalescer::end_of(const Window& window) const {
  return std::min(window.last_arrival + window_.quiet, window.start + window_.longest);
}

void UserCoalescer::release(Window& window, Coalesced& out) {
  for (Event& event : window.pending) {
    bytes_ -= size_in_memory(event);
    out.events.push_back(std::move(event));
  }
  window.pending.clear();
}

Coalesced UserCoalescer::offer(TimePoint now, Event event) {
  STARLING_ASSERT(event.type == EventType::kUser);
  Coalesced out = advance(now);
  auto found = windows_.find(event.name);
  if (found == windows_.end()) {
    if (!window_.off() && windows_.size() < kMaxNames) {
      windows_.emplace(event.name, Window{now, now, event.ltime, {}});
    }
    out.events.push_back(std::move(event));
    return out;
  }
  Window& window = found->second;
  window.last_arrival = now;
  if (event.ltime < window.newest) {
    out.superseded.push_back(std::move(event));
    return out;
  }
  if (event.ltime > window.newest) {
    for (Event& older : window.pending) {
      bytes_ -= size_in_memory(older);
      out.superseded.push_back(std::move(older));
    }
    window.pending.clear();
    window.newest = event.ltime;
  }
  bytes_ += size_in_memory(event);
  window.pending.push_back(std::move(event));
  if (window.pending.size() > kMaxEqual || bytes_ > kMaxBytes) {
    release(window, out);
    window.start = now;
  }
  return out;
}

Coalesced UserCoalescer::advance(TimePoint now) {
  Coalesced out;
  for (auto entry = windows_.begin(); entry != windows_.end();) {
    Window& window = entry->second;
    if (end_of(window) > now) {
      ++entry;
    } else if (window.pending.empty() && window.last_arrival + window_.quiet <= now) {
      entry = windows_.erase(entry);
    } else {
      // Stays open: the next event of this name, if soon, is not the first after a pause.
      release(window, out);
      window.start = window.last_arrival = now;
      ++entry;
    }
  }
  return out;
}

Coalesced UserCoalescer::flush() {
  Coalesced out;
  for (auto& [name, window] : windows_) release(window, out);
  windows_.clear();
  return out;
}

TimePoint UserCoalescer::next_deadline() const {
  TimePoint next = kNever;
  for (const auto& [name, window] : windows_) next = std::min(next, end_of(window));
  return next;
}

}  // namespace starling::handlers
