// SPDX-License-Identifier: Apache-2.0
//
// Gate: whether this agent does what it is ordered to do. It verifies signatures, refuses what was
// done before, asks the policy, and writes down who wanted what and what came of it.
//
// A signature that does not hold is refused whatever the policy says. Signed by a key that is not
// trusted here counts as unsigned. Without a policy everything else is allowed, as in Serf; with
// one, what no rule allows is refused.
//
// Event-loop thread only; does no I/O but for the audit log.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/log.h"
#include "agent/store/state.h"
#include "agent/trust/audit.h"
#include "agent/trust/operators.h"
#include "agent/trust/order.h"
#include "agent/trust/policy.h"
#include "agent/trust/used_orders.h"
#include "agent/trust/verdict.h"
#include "proto/support/result.h"

namespace starling::agent {

struct GateStatistics {
  uint64_t accepted_signed = 0;
  uint64_t accepted_unsigned = 0;
  uint64_t refused_policy = 0;     ///< no rule allows it
  uint64_t refused_signature = 0;  ///< it does not hold, or is valid for too long
  uint64_t refused_used = 0;       ///< carried out before
  uint64_t refused_expired = 0;
  uint64_t refused_handlers = 0;    ///< runs of handlers that the rule does not name
  uint64_t forgotten_orders = 0;    ///< UsedOrders::forgotten_early
  uint64_t unwritten_refusals = 0;  ///< AuditLog::unwritten
};

class Gate {
 public:
  /// Unix milliseconds.
  using Clock = std::function<int64_t()>;

  struct Options {
    Operators operators;
    UsedOrders used;
    std::optional<Policy> policy = std::nullopt;
    std::string audit_file = {};
    Clock clock = system_clock();
    std::function<AgentTags()> tags = {};  ///< this agent's, now; none: it has none
  };
  /// `log` outlives it. kUnavailable: the audit file cannot be opened.
  static Result<std::unique_ptr<Gate>> open(Log& log, Options options);
  static Clock system_clock();

  /// For the agent's own users, before an order goes out: what it would meet with elsewhere, as far
  /// as can be told from here. Tags of agents do not count.
  [[nodiscard]] Result<void> check(const Order& order, std::string_view authorization) const;
  /// The order has come to be carried out. `via`: the member it came from; `id`: what the logs call
  /// it. What is refused is used up as well: a later policy does not revive it.
  OrderVerdict judge(const Order& order, std::string_view authorization, const std::string& via,
                     const std::string& id);
  /// The name of the operator with this key, if he may say which nodes are admitted and banned.
  [[nodiscard]] std::optional<std::string> entitled_to_nodes(const OperatorKey& key) const;
  /// Whether a handler may run for an event or query that was allowed.
  [[nodiscard]] bool allows_handler(OrderKind kind, std::string_view name, const Signer& signer,
                                    std::string_view handler) const;
  void handler_refused(OrderKind kind, std::string_view name, const Signer& signer,
                       std::string_view handler);

  [[nodiscard]] Operators& operators() { return operators_; }
  [[nodiscard]] const Operators& operators() const { return operators_; }
  [[nodiscard]] const std::optional<Policy>& policy() const { return policy_; }
  void set_policy(std::optional<Policy> policy) { policy_ = std::move(policy); }
  /// Opens the audit file anew.
  Result<void> reopen() { return audit_.open(); }
  /// A line of the audit log beside those about orders.
  void note(std::string_view text) { audit_.accepted(text); }
  [[nodiscard]] GateStatistics statistics() const;

 private:
  enum class Refusal : uint8_t { kPolicy, kSignature, kUsed, kExpired };
  /// What a signature comes to; no refusal: `signer` is who counts as having signed.
  struct Reading {
    std::optional<Refusal> refusal;
    std::string why;
    Signer signer;
    std::string stranger;                     // key id of who has signed and is not trusted
    std::optional<SignedOrder> signed_order;  // by who is trusted, and not used before
  };

  Gate(Log& log, Options options);
  [[nodiscard]] Reading read(const Order& order, std::string_view authorization) const;
  [[nodiscard]] std::string policy_text(const Order& order, const Reading& reading) const;
  void count(Refusal refusal);
  [[nodiscard]] AgentTags own_tags() const { return tags_ ? tags_() : AgentTags(); }

  Operators operators_;
  UsedOrders used_;
  std::optional<Policy> policy_;
  AuditLog audit_;
  const Clock clock_;
  const std::function<AgentTags()> tags_;
  GateStatistics statistics_;
};

}  // namespace starling::agent
