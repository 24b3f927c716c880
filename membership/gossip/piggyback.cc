// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/piggyback.h"

#include <algorithm>
#include <utility>

#include "membership/planted_bug.h"

namespace starling::membership {

namespace {
constexpr size_t kSmallestRecord = 40;
constexpr size_t kFieldOverhead = 5;
// More places than this and most are left behind.
constexpr size_t kPlacesPerMember = 4;
constexpr size_t kPlacesLeast = 64;
}  // namespace

void Piggyback::enlist(const NodeId& member, unsigned left) {
  if (levels_.size() <= left) levels_.resize(left + 1);
  levels_[left].push_back(member);
  if (++places_ > kPlacesPerMember * left_.size() + kPlacesLeast) tidy();
}

void Piggyback::tidy() {
  places_ = 0;
  for (unsigned level = 0; level < levels_.size(); ++level) {
    std::vector<NodeId>& members = levels_[level];
    std::sort(members.begin(), members.end());
    members.erase(std::unique(members.begin(), members.end()), members.end());
    std::erase_if(members, [&](const NodeId& member) {
      const auto entry = left_.find(member);
      return entry == left_.end() || entry->second != level;
    });
    places_ += members.size();
  }
}

void Piggyback::add(const NodeId& member, unsigned transmissions) {
  unsigned& left = left_[member];
  if (left == transmissions) return;
  left = transmissions;
  enlist(member, transmissions);
}

void Piggyback::drop(const NodeId& member) {
  left_.erase(member);
}

void Piggyback::fill(proto::Packet& packet, size_t free, const Encode& encode) {
  if (left_.empty()) {
    levels_.clear();
    places_ = 0;
    return;
  }
  // Whatever goes out, or does not fit, is put back afterwards: once per packet at most.
  std::vector<std::pair<NodeId, unsigned>> back;
  for (size_t level = levels_.size(); level-- > 1 && free >= kSmallestRecord;) {
    std::vector<NodeId>& members = levels_[level];
    while (!members.empty() && free >= kSmallestRecord) {
      const NodeId member = members.back();
      members.pop_back();
      --places_;
      const auto entry = left_.find(member);
      if (entry == left_.end() || entry->second != level) continue;
      // An old place may be met at the level that it has just come down to.
      if (std::any_of(back.begin(), back.end(),
                      [&](const auto& sent) { return sent.first == member; })) {
        continue;
      }
      std::optional<proto::Record> record = encode(member);
      if (!record) {
        left_.erase(entry);
        continue;
      }
      const size_t size = record->ByteSizeLong() + kFieldOverhead;
      if (size > free && !planted(PlantedBug::kPiggybackWithoutBudget)) {
        back.emplace_back(member, level);
        break;  // most are of a size: the next would not fit either
      }
      free -= std::min(free, size);
      *packet.add_records() = std::move(*record);
      if (--entry->second == 0) {
        left_.erase(entry);
      } else {
        back.emplace_back(member, entry->second);
      }
    }
  }
  for (const auto& [member, left] : back) enlist(member, left);
}

}  // namespace starling::membership
