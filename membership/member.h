// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "membership/address.h"
#include "membership/ids.h"

namespace starling::membership {

/// In the order of precedence at one incarnation (SWIM section 4.2; `left` is final for it).
enum class Status : uint8_t { kAlive, kSuspect, kLeaving, kFailed, kLeft };

/// As users see it: "alive", "leaving", "failed", "left". A suspect is shown as alive.
[[nodiscard]] std::string_view public_status(Status status);
/// With "suspect", for logs and traces.
[[nodiscard]] std::string_view status_name(Status status);

/// A member as handed out to users of the core: a copy, safe to keep.
struct Member {
  NodeId id;
  std::string name;
  Address address;
  std::map<std::string, std::string> tags;
  Status status = Status::kAlive;
  Incarnation incarnation;
  LamportTime ltime = 0;  ///< of the last change of status
  uint8_t protocol_min = 1;
  uint8_t protocol_max = 1;
  bool degraded = false;  ///< others reach it badly, but not never (swim/degraded.h)
};

}  // namespace starling::membership
