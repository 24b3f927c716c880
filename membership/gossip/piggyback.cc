// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/piggyback.h"

#include <algorithm>
#include <vector>

#include "membership/planted_bug.h"

namespace starling::membership {

namespace {
constexpr size_t kSmallestRecord = 40;
constexpr size_t kFieldOverhead = 5;
}  // namespace

void Piggyback::add(const NodeId& member, unsigned transmissions) {
  left_[member] = transmissions;
}

void Piggyback::drop(const NodeId& member) {
  left_.erase(member);
}

void Piggyback::fill(proto::Packet& packet, size_t free, const Encode& encode) {
  if (left_.empty() || free < kSmallestRecord) return;
  std::vector<std::pair<unsigned, NodeId>> order;
  order.reserve(left_.size());
  for (const auto& [member, left] : left_) order.emplace_back(left, member);
  // A packet holds a few dozen records at most: no need to sort a long queue whole.
  const size_t fitting = std::min(order.size(), free / kSmallestRecord + 1);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(fitting),
                    order.end(), [](const auto& a, const auto& b) { return a > b; });
  order.resize(fitting);
  for (const auto& [left, member] : order) {
    std::optional<proto::Record> record = encode(member);
    if (!record) {
      left_.erase(member);
      continue;
    }
    const size_t size = record->ByteSizeLong() + kFieldOverhead;
    if (size > free && !planted(PlantedBug::kPiggybackWithoutBudget)) continue;
    free -= size;
    *packet.add_records() = std::move(*record);
    if (left <= 1) {
      left_.erase(member);
    } else {
      left_[member] = left - 1;
    }
  }
}

}  // namespace starling::membership
