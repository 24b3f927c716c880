// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/admissions.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "handlers/policy.h"

namespace starling::agent {

using membership::NodeId;

Admissions::Admissions(NodeId self, bool required, Entitled entitled,
                       const std::vector<std::string>& stored)
    : self_(self), required_(required), entitled_(std::move(entitled)) {
  for (const std::string& bytes : stored) {
    trust::Statement statement;
    if (statements_.size() >= kMaxStatements || !statement.ParseFromString(bytes)) continue;
    if (statement.node().size() != kNodeIdSize) continue;
    std::string node = statement.node();
    statements_.insert_or_assign(std::move(node), std::move(statement));
  }
  review(0);
}

Result<bool> Admissions::take(const trust::Statement& statement, int64_t now_ms) {
  const auto known = statements_.find(statement.node());
  const bool same =
      known != statements_.end() && known->second.signature() == statement.signature();
  if (same) return false;  // most are: no need to verify them again
  const auto key = verify_statement(statement);
  if (!key) return tl::unexpected(key.error());
  if (!entitled_(*key)) {
    return fail(ErrorKind::kConflict, "this agent lets nobody with the key " + key->id() +
                                          " say who is admitted or banned");
  }
  if (statement.issued_ms() > now_ms + kMostAhead_ms) {
    return fail(ErrorKind::kInvalid,
                "the statement is from the future: set the clock of this host, or of the one that "
                "signed it");
  }
  if (known != statements_.end() && !statement_wins(statement, known->second)) return false;
  if (known == statements_.end() && statements_.size() >= kMaxStatements) {
    ++refused_full_;
    return fail(ErrorKind::kTooLarge, "this agent holds statements about " +
                                          std::to_string(kMaxStatements) +
                                          " nodes, which is the limit");
  }
  statements_.insert_or_assign(statement.node(), statement);
  const auto id = NodeId::from_wire(statement.node());
  std::erase_if(knocks_, [&](const Knock& knock) { return knock.id == *id; });
  return true;
}

void Admissions::review(int64_t now_ms) {
  words_.clear();
  next_end_ms_ = INT64_MAX;
  for (const auto& [node, statement] : statements_) {
    const auto key = OperatorKey::from_wire(statement.operator_key());
    if (!key || !entitled_(*key)) continue;
    const int64_t end = statement.not_after_ms();
    if (!statement.banned() && end != 0) {
      if (end <= now_ms) continue;
      next_end_ms_ = std::min(next_end_ms_, end);
    }
    words_[*NodeId::from_wire(node)] = {statement.banned(), statement.name(), end};
  }
  const auto everybody = words_.extract(kEverybody);
  closed_ = !everybody.empty() && everybody.mapped().banned;
}

bool Admissions::admitted(const NodeId& id, std::string_view name, int64_t now_ms) const {
  const auto found = words_.find(id);
  if (found == words_.end() || found->second.banned) return false;
  const Word& word = found->second;
  const bool in_time = word.not_after_ms == 0 || now_ms < word.not_after_ms;
  return in_time && (name.empty() || word.name.empty() || handlers::glob_matches(word.name, name));
}

bool Admissions::admits(const NodeId& id, std::string_view name, int64_t now_ms) {
  if (id == self_) return true;
  const auto found = words_.find(id);
  if (found != words_.end() && found->second.banned) return false;
  if (admitted(id, name, now_ms)) return true;
  if (!enforced()) return true;
  note_knock(id, name, now_ms);
  return false;
}

void Admissions::note_knock(const NodeId& id, std::string_view name, int64_t now_ms) {
  const auto known =
      std::ranges::find_if(knocks_, [&](const Knock& knock) { return knock.id == id; });
  Knock knock{id, {}, 0, 0};
  if (known != knocks_.end()) {
    knock = std::move(*known);
    knocks_.erase(known);
  } else if (knocks_.size() >= kMaxKnocks) {
    knocks_.pop_front();
  }
  if (!name.empty()) knock.name = name;
  knock.count += 1;
  knock.last_ms = now_ms;
  knocks_.push_back(std::move(knock));
}

std::string Admissions::own_ban() const {
  const auto own = words_.find(self_);
  if (own == words_.end() || !own->second.banned) return {};
  const std::string& reason = statements_.at(std::string(self_.wire())).reason();
  return reason.empty() ? "no reason was given" : reason;
}

std::vector<Admissions::Entry> Admissions::list(int64_t now_ms) const {
  std::vector<Entry> list;
  for (const auto& [node, statement] : statements_) {
    const auto key = OperatorKey::from_wire(statement.operator_key());
    const int64_t end = statement.not_after_ms();
    list.push_back({statement, entitled_(*key).value_or(""),
                    !statement.banned() && end != 0 && end <= now_ms});
  }
  return list;
}

std::vector<Admissions::Knock> Admissions::knocks() const {
  return {knocks_.rbegin(), knocks_.rend()};
}

std::string Admissions::digest() const {
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, crypto_generichash_BYTES_MIN);
  for (const auto& [node, statement] : statements_) {
    const std::string& signature = statement.signature();
    crypto_generichash_update(&state, reinterpret_cast<const uint8_t*>(signature.data()),
                              signature.size());
  }
  std::string digest(crypto_generichash_BYTES_MIN, '\0');
  crypto_generichash_final(&state, reinterpret_cast<uint8_t*>(digest.data()), digest.size());
  return digest;
}

std::vector<trust::Statement> Admissions::page(std::string_view after, size_t bytes,
                                               bool& more) const {
  std::vector<trust::Statement> page;
  size_t size = 0;
  auto next = after.empty() ? statements_.begin() : statements_.upper_bound(std::string(after));
  for (; next != statements_.end() && size < bytes; ++next) {
    size += next->second.ByteSizeLong() + 4;
    page.push_back(next->second);
  }
  more = next != statements_.end();
  return page;
}

}  // namespace starling::agent
