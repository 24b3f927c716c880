// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/models/memberlist_queue.h"

namespace starling::simulation {

void MemberlistQueue::add(const MemberlistMessage& message) {
  const Key key{0, message_size(message), ++last_id_, message.node};
  const auto [it, added] = messages_.try_emplace(message.node, Entry{key, message});
  if (!added) {
    order_.erase(it->second.key);
    it->second = {key, message};
  }
  order_.insert(key);
}

void MemberlistQueue::take(size_t overhead, size_t limit, int transmit_limit,
                           std::vector<MemberlistMessage>* out) {
  if (order_.empty()) return;
  size_t used = 0;
  std::vector<Key> again;
  const int last = order_.rbegin()->transmits;
  for (int tier = order_.begin()->transmits; tier <= last;) {
    if (used + overhead >= limit) break;
    const size_t free = limit - used - overhead;
    const auto it = order_.lower_bound({tier, free, UINT64_MAX, 0});
    if (it == order_.end() || it->transmits != tier) {
      ++tier;
      continue;
    }
    Key key = *it;
    order_.erase(it);
    Entry& entry = messages_.at(key.node);
    out->push_back(entry.message);
    used += overhead + key.size;
    if (++key.transmits >= transmit_limit) {
      messages_.erase(key.node);
    } else {
      entry.key = key;
      again.push_back(key);
    }
  }
  for (const Key& key : again) order_.insert(key);
}

}  // namespace starling::simulation
