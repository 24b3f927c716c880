// SPDX-License-Identifier: Apache-2.0
//
// memberlist's m.nodes and m.nodeMap (state.go): the known members in the order in which they are
// probed, and where each is. 20 bytes per known member, so that thousands of processes that know
// thousands of members fit into memory. Single-threaded.
#pragma once

#include <vector>

#include "test/simulation/models/memberlist_wire.h"

namespace starling::simulation {

/// state.go, nodeState.
struct MemberlistNode {
  NodeIndex node = kNoNode;
  uint32_t incarnation = 0;
  uint32_t changed = 0;  ///< milliseconds since the process started
  uint16_t moves = 0;
  MemberlistState state = MemberlistState::kDead;

  [[nodiscard]] bool dead_or_left() const { return state >= MemberlistState::kDead; }
};
static_assert(sizeof(MemberlistNode) == 16);

class MemberlistTable {
 public:
  [[nodiscard]] size_t size() const { return nodes_.size(); }
  [[nodiscard]] const MemberlistNode& operator[](size_t index) const { return nodes_[index]; }
  /// Null when unknown. Valid until the table changes.
  MemberlistNode* find(NodeIndex node);
  /// aliveNode: a new one goes to a random place, and what was there to the end.
  MemberlistNode* add(const MemberlistNode& node, Random& random);
  /// resetNodes: forgets those that were dead or left before `changed_before`, shuffles the rest.
  void reset(uint32_t changed_before, Random& random);
  void reserve(size_t count);

  /// util.go, kRandomNodes: up to `count` distinct ones for which `wanted` holds.
  template <typename Wanted>
  void pick(size_t count, Random& random, const Wanted& wanted,
            std::vector<MemberlistNode>* out) const {
    out->clear();
    const size_t n = nodes_.size();
    if (n < 3 * count) {
      std::vector<MemberlistNode> shuffled = nodes_;
      random.shuffle(std::span(shuffled));
      for (const MemberlistNode& node : shuffled) {
        if (out->size() < count && wanted(node)) out->push_back(node);
      }
      return;
    }
    for (size_t i = 0; i < 3 * n && out->size() < count; ++i) {
      const MemberlistNode& node = nodes_[random.below(n)];
      if (!wanted(node)) continue;
      bool have = false;
      for (const MemberlistNode& other : *out) have = have || other.node == node.node;
      if (!have) out->push_back(node);
    }
  }

 private:
  void place(size_t index) { where_[nodes_[index].node] = static_cast<uint32_t>(index); }

  std::vector<MemberlistNode> nodes_;
  std::vector<uint32_t> where_;  ///< by NodeIndex; kNoNode when unknown
};

}  // namespace starling::simulation
