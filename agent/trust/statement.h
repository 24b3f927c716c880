// SPDX-License-Identifier: Apache-2.0
//
// Statements: an operator's signed word that a node is admitted to the cluster, or banned from it.
// Unlike an order, a statement stands until there is a later one about the same node. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/trust/key.h"
#include "proto/support/result.h"
#include "proto/trust.pb.h"

namespace starling::agent {

/// The query that carries a NodesQuestion; its answer is a NodesAnswer.
inline constexpr std::string_view kNodesQuery = "_starling_nodes";

inline constexpr size_t kNodeIdSize = 16;
inline constexpr size_t kMaxNamePattern = 128;
inline constexpr size_t kMaxReason = 128;

/// Fills in issued_ms, operator_key and signature.
void sign_statement(trust::Statement& statement, const SigningKey& key, int64_t now_ms);

/// kInvalid: a field makes no sense, or the signature does not hold.
[[nodiscard]] Result<OperatorKey> verify_statement(const trust::Statement& statement);

/// Of two statements about one node: whether `a` counts and `b` does not. The later one; of two of
/// one moment the ban; then any, but everywhere the same.
[[nodiscard]] bool statement_wins(const trust::Statement& a, const trust::Statement& b);

}  // namespace starling::agent
