// SPDX-License-Identifier: Apache-2.0
//
// Local health (Lifeguard section IV.A): a count of signs that this node itself is slow. It
// stretches the node's own probing, so that a busy host does not accuse others.
#pragma once

#include <algorithm>

namespace starling::membership {

class LocalHealth {
 public:
  /// The score stays in [0, max).
  explicit LocalHealth(unsigned max) : max_(max) {}

  void worsen(unsigned by = 1) { score_ = std::min(score_ + by, max_ - 1); }
  void improve() { score_ -= score_ > 0 ? 1 : 0; }
  [[nodiscard]] unsigned score() const { return score_; }
  /// What probe intervals are multiplied with: 1 .. max.
  [[nodiscard]] unsigned factor() const { return score_ + 1; }

 private:
  unsigned max_;
  unsigned score_ = 0;
};

}  // namespace starling::membership
