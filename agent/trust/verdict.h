// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an order. Plain values.
#pragma once

#include <optional>
#include <string>

#include "agent/store/state.h"

namespace starling::agent {

/// Who has signed an order; both empty: nobody whom this agent trusts.
struct Signer {
  std::string name;
  std::string key_id;

  [[nodiscard]] bool nobody() const { return key_id.empty(); }
  bool operator==(const Signer&) const = default;
};

struct OrderVerdict {
  bool allowed = true;
  std::string reason;  ///< of a refusal: "refused by policy: ..."
  Signer signer;
  /// To be in the store before the order is carried out.
  std::optional<PutOrder> used;
};

}  // namespace starling::agent
