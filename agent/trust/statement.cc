// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/statement.h"

#include <tuple>

#include "agent/trust/signed_text.h"

namespace starling::agent {

namespace {

constexpr std::string_view kDomain = "starling-node-v1";

std::string text_of(const trust::Statement& statement) {
  SignedText text;
  text.field(kDomain)
      .field(statement.node())
      .number(statement.banned() ? 1 : 0)
      .field(statement.name())
      .field(statement.reason())
      .number(static_cast<uint64_t>(statement.issued_ms()))
      .number(static_cast<uint64_t>(statement.not_after_ms()))
      .field(statement.operator_key());
  return text.text();
}

}  // namespace

void sign_statement(trust::Statement& statement, const SigningKey& key, int64_t now_ms) {
  statement.set_issued_ms(now_ms);
  statement.set_operator_key(std::string(key.public_key().wire()));
  statement.set_signature(key.sign(text_of(statement)));
}

Result<OperatorKey> verify_statement(const trust::Statement& statement) {
  const auto key = OperatorKey::from_wire(statement.operator_key());
  if (!key || statement.node().size() != kNodeIdSize) {
    return fail(ErrorKind::kInvalid, "a statement about a node that cannot be read");
  }
  if (statement.name().size() > kMaxNamePattern || statement.reason().size() > kMaxReason) {
    return fail(ErrorKind::kInvalid, "names and reasons have at most 128 bytes");
  }
  if (!verify(*key, text_of(statement), statement.signature())) {
    return fail(ErrorKind::kInvalid,
                "the signature of the statement by key " + key->id() + " does not hold");
  }
  return *key;
}

bool statement_wins(const trust::Statement& a, const trust::Statement& b) {
  return std::forward_as_tuple(a.issued_ms(), a.banned(), a.signature()) >
         std::forward_as_tuple(b.issued_ms(), b.banned(), b.signature());
}

}  // namespace starling::agent
