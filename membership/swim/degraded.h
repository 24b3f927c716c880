// SPDX-License-Identifier: Apache-2.0
//
// Degraded: members that others reach badly, but not never. Such a member is accused and refutes,
// again and again; it stays a member and does not flap, and operators are told. A member counts as
// degraded once it has refuted kRefutations times within kWindow, until it has not for that long.
// All who hear its refutations come to the same view.
//
// Memory: one line for each member that refuted within the last kWindow.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <unordered_map>

#include "membership/deadlines.h"
#include "membership/ids.h"
#include "membership/time.h"

namespace starling::membership {

class Degraded {
 public:
  static constexpr size_t kRefutations = 3;
  static constexpr Duration kWindow = std::chrono::minutes(5);

  /// True when this makes it degraded.
  bool refuted(const NodeId& id, TimePoint now);
  void forget(const NodeId& id);
  [[nodiscard]] bool contains(const NodeId& id) const;
  [[nodiscard]] size_t count() const { return count_; }

  [[nodiscard]] TimePoint next_deadline() const { return calm_at_.next(); }
  /// One that is no longer degraded, if there is one.
  std::optional<NodeId> recovered(TimePoint now);

 private:
  struct Line {
    std::array<TimePoint, kRefutations> last{};  // a ring
    size_t next = 0;
    size_t seen = 0;
    bool degraded = false;
  };
  std::unordered_map<NodeId, Line> lines_;
  Deadlines<NodeId> calm_at_;
  size_t count_ = 0;
};

}  // namespace starling::membership
