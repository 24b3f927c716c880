// SPDX-License-Identifier: Apache-2.0
//
// Strangers: from where packets came that could not be taken, and why. For operators: it tells a
// wrong key from a broken network. Addresses of datagrams can be forged, so nothing is decided by
// it. At most kMax sources; the one silent longest makes room.
//
// Event-loop thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "membership/address.h"

namespace starling::agent {

enum class StrangerReason : uint8_t {
  kUnknownKey,  ///< sealed with a key that is not in the ring
  kOldBoot,     ///< from before its sender's last start, as far as boot epochs tell
  kTwin,        ///< from a second process with the identity of another
};

struct Stranger {
  membership::Address from;  ///< port 0: of a stream, whose port says nothing
  StrangerReason reason = StrangerReason::kUnknownKey;
  uint64_t count = 0;
  std::chrono::steady_clock::time_point last;
};

class Strangers {
 public:
  static constexpr size_t kMax = 256;

  void note(const membership::Address& from, StrangerReason reason,
            std::chrono::steady_clock::time_point now);
  /// In no particular order.
  [[nodiscard]] const std::vector<Stranger>& list() const { return list_; }

 private:
  std::vector<Stranger> list_;
};

}  // namespace starling::agent
