// SPDX-License-Identifier: Apache-2.0
//
// Policy: who may order what of this agent. What no rule allows is refused. Plain values and pure
// functions; docs/operators.md is the user's side of it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/trust/order.h"
#include "agent/trust/verdict.h"
#include "proto/support/result.h"

namespace starling::agent {

using AgentTags = std::map<std::string, std::string>;

struct PolicyRule {
  /// Names and key ids of operators, "any" of those trusted, or "unsigned".
  std::vector<std::string> operators;
  std::vector<std::string> events;   ///< names, with * and ?
  std::vector<std::string> queries;  ///< the same
  std::vector<OrderKind> orders;     ///< beside events and queries
  AgentTags tags;  ///< the rule holds where the agent has these; values with * and ?
  std::vector<std::string> handlers;  ///< which run for these events and queries; none: all
  std::string place;                  ///< "file:line:column"

  [[nodiscard]] bool meets(const Signer& signer) const;
  [[nodiscard]] bool covers(OrderKind kind, std::string_view name) const;
  [[nodiscard]] bool holds_for(const AgentTags& own) const;
};

struct Policy {
  std::vector<PolicyRule> rules;
  /// Users that handlers may run as, beside the agent's own.
  std::vector<std::string> handler_users;

  /// `file` is its name, for places. kInvalid: "file:line:column: ...".
  static Result<Policy> parse(std::string_view text, const std::string& file);
  /// kNotFound, kUnavailable, kInvalid.
  static Result<Policy> read(const std::string& path);

  /// Whether the order may reach this agent's handlers.
  [[nodiscard]] bool allows(OrderKind kind, std::string_view name, const Signer& signer,
                            const AgentTags& own) const;
  /// Whether it may on some agent with this policy, whatever its tags are.
  [[nodiscard]] bool allows_somewhere(OrderKind kind, std::string_view name,
                                      const Signer& signer) const;
  /// Whether this handler may run for it. `handler`: its name (handlers::JobName::handler).
  [[nodiscard]] bool allows_handler(OrderKind kind, std::string_view name, const Signer& signer,
                                    const AgentTags& own, std::string_view handler) const;
  [[nodiscard]] bool allows_user(std::string_view user) const;
};

}  // namespace starling::agent
