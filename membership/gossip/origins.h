// SPDX-License-Identifier: Apache-2.0
//
// Origins: whether what comes in a member's name was said by it. Events, queries, the word that a
// query is over and direct messages carry the key of their origin, whose id is the beginning of the
// key's hash, and its signature. So they prove themselves: nobody has to know the origin, who may
// have left long ago or not be met yet.
//
// A signature is verified once, when what it is of is taken over. Single-threaded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "membership/context.h"
#include "membership/forgery_budget.h"
#include "membership/gossip/record.h"
#include "membership/ids.h"
#include "membership/signatures.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// What an origin signs: "starling event 1" and so on, its key, the epoch and sequence of the id,
/// and then everything that the message says, in the order of its fields (docs/protocol.md). `text`
/// is replaced. Of an event without its payload the size and the digest are signed; the payload of
/// an answer is signed by its digest when it is over kSignedWhole.
inline constexpr size_t kSignedWhole = 1024;
void write_signed_text(const PublicKey& key, const MessageId& id, const proto::UserEvent& event,
                       std::string& text);
void write_signed_text(const PublicKey& key, const MessageId& id, const proto::Query& query,
                       std::string& text);
void write_signed_text(const PublicKey& key, const MessageId& id, const proto::QueryOver& over,
                       std::string& text);
/// Of all but the hops that are left, which those change who carry it.
void write_signed_text(const PublicKey& key, const MessageId& id,
                       const proto::DirectMessage& message, std::string& text);

class Origins {
 public:
  explicit Origins(Context& context) : context_(context), budget_(context) {}

  /// Signs in this node's name, of whom `id` is.
  template <typename Message>
  void sign(const MessageId& id, Message& message) {
    const NodeKeys& keys = *context_.identity.keys;
    write_signed_text(keys.public_key(), id, message, text_);
    seal(keys.sign(text_), *message.mutable_public_key(), *message.mutable_signature());
  }

  /// kFresh when the origin of `id` has signed this, otherwise kForged: counted, and told at times.
  [[nodiscard]] Verdict check(const MessageId& id, const proto::UserEvent& event);
  [[nodiscard]] Verdict check(const MessageId& id, const proto::Query& query);
  [[nodiscard]] Verdict check(const MessageId& id, const proto::QueryOver& over);
  [[nodiscard]] Verdict check(const MessageId& id, const proto::DirectMessage& message);

 private:
  template <typename Message>
  Verdict verify(const MessageId& id, const Message& message, uint64_t& forged,
                 std::string_view what);
  void seal(const Signature& signature, std::string& key_out, std::string& signature_out) const;
  void tell(const MessageId& id, std::string_view what);

  Context& context_;
  ForgeryBudget budget_;
  std::string text_;  // its memory is used again
  TimePoint log_again_ = TimePoint::min();
  uint64_t unlogged_ = 0;
};

}  // namespace starling::membership
