// SPDX-License-Identifier: Apache-2.0
//
// Vouching: whether a member has signed what is told as its own word. A signature costs tens of
// microseconds to verify, so what is known byte for byte is not verified again, and who sends
// forgeries is soon not worth the effort: each source has a budget of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "membership/context.h"
#include "membership/forgery_budget.h"
#include "membership/swim/description.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// What a member signs of its description: "starling member 1", then key, name, address (16 bytes),
/// port, tags, lowest and highest protocol, incarnation, and whether it says that it has left.
/// Numbers have eight bytes, least significant first; texts are preceded by their length as such a
/// number, and tags by their count, in the order of their keys.
[[nodiscard]] std::string signed_text(const Description& description);

/// A description that can be shown and reached, with its signature, whoever made that; none when
/// something in it is not as it must be.
[[nodiscard]] std::optional<Description> read_description(const proto::MemberRecord& record);
void write_description(const Description& description, proto::MemberRecord& record);

enum class Vouched : uint8_t {
  kYes,
  kForged,   ///< the signature is missing or wrong, or the key is not that of the id
  kTooMany,  ///< not looked at: its source has sent too many forgeries
};

class Vouching {
 public:
  Vouching(Context& context, const DescriptionPool& known)
      : context_(context), known_(known), budget_(context) {}

  /// `source` is who sent it, see Context::source().
  [[nodiscard]] Vouched check(const Description& description, const Address& source);
  [[nodiscard]] size_t sources() const { return budget_.sources(); }

 private:
  void forged(const Description& description, const Address& source);

  Context& context_;
  const DescriptionPool& known_;
  ForgeryBudget budget_;
  TimePoint log_again_ = TimePoint::min();
  uint64_t unlogged_ = 0;
};

}  // namespace starling::membership
