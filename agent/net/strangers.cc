// SPDX-License-Identifier: Apache-2.0
#include "agent/net/strangers.h"

#include <algorithm>

namespace starling::agent {

void Strangers::note(const membership::Address& from, StrangerReason reason,
                     std::chrono::steady_clock::time_point now) {
  auto found = std::ranges::find_if(list_, [&](const Stranger& stranger) {
    return stranger.from == from && stranger.reason == reason;
  });
  if (found == list_.end()) {
    if (list_.size() < kMax) {
      found = list_.insert(list_.end(), Stranger());
    } else {
      found = std::ranges::min_element(list_, {}, &Stranger::last);
    }
    *found = Stranger{from, reason, 0, now};
  }
  ++found->count;
  found->last = now;
}

}  // namespace starling::agent
