// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/degraded.h"

namespace starling::membership {

bool Degraded::refuted(const NodeId& id, TimePoint now) {
  Line& line = lines_[id];
  line.last[line.next] = now;
  line.next = (line.next + 1) % kRefutations;  // now the oldest of them
  ++line.seen;
  calm_at_.set(id, now + kWindow);
  if (line.degraded || line.seen < kRefutations || now - line.last[line.next] > kWindow) {
    return false;
  }
  line.degraded = true;
  ++count_;
  return true;
}

void Degraded::forget(const NodeId& id) {
  const auto found = lines_.find(id);
  if (found == lines_.end()) return;
  if (found->second.degraded) --count_;
  lines_.erase(found);
  calm_at_.erase(id);
}

bool Degraded::contains(const NodeId& id) const {
  const auto found = lines_.find(id);
  return found != lines_.end() && found->second.degraded;
}

std::optional<NodeId> Degraded::recovered(TimePoint now) {
  while (const auto id = calm_at_.pop(now)) {
    const bool was = contains(*id);
    forget(*id);
    if (was) return id;
  }
  return std::nullopt;
}

}  // namespace starling::membership
