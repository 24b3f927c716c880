// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/models/memberlist_table.h"

#include <algorithm>
#include <utility>

namespace starling::simulation {

MemberlistNode* MemberlistTable::find(NodeIndex node) {
  if (node >= where_.size() || where_[node] == kNoNode) return nullptr;
  return &nodes_[where_[node]];
}

MemberlistNode* MemberlistTable::add(const MemberlistNode& node, Random& random) {
  if (node.node >= where_.size()) where_.resize(node.node + 1, kNoNode);
  const size_t end = nodes_.size();
  const size_t offset = end == 0 ? 0 : random.below(end);
  nodes_.push_back(node);
  std::swap(nodes_[offset], nodes_[end]);
  place(end);
  place(offset);
  return &nodes_[offset];
}

void MemberlistTable::reset(uint32_t changed_before, Random& random) {
  std::erase_if(nodes_, [&](const MemberlistNode& node) {
    const bool gone = node.dead_or_left() && node.changed < changed_before;
    if (gone) where_[node.node] = kNoNode;
    return gone;
  });
  random.shuffle(std::span(nodes_));
  for (size_t i = 0; i < nodes_.size(); ++i) place(i);
}

void MemberlistTable::reserve(size_t count) {
  nodes_.reserve(count);
  where_.reserve(count);
}

}  // namespace starling::simulation
