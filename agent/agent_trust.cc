// SPDX-License-Identifier: Apache-2.0
//
// What the agent is ordered to do, and by whom: the gate, and what a reload changes of it.
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agent/agent_impl.h"
#include "agent/arrived_orders.h"
#include "agent/handler_events.h"

namespace starling::agent {

namespace {

Result<std::optional<Policy>> load_policy(const Config& config) {
  if (config.policy_file.empty()) return std::optional<Policy>();
  auto policy = Policy::read(config.policy_file);
  if (!policy) {
    return fail(policy.error().kind, "policy_file: " + policy.error().message);
  }
  return std::optional<Policy>(*std::move(policy));
}

/// Whether this name or number is the user that the agent runs as.
bool is_own_user(const std::string& user) {
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry != nullptr) return entry->pw_uid == ::geteuid();
  return user == std::to_string(::geteuid());
}

OrderKind kind_of(const handlers::Event& event) {
  return event.type == handlers::EventType::kQuery ? OrderKind::kQuery : OrderKind::kEvent;
}

Signer signer_of(const handlers::Event& event) {
  return {event.operator_name, event.operator_key};
}

Result<void> check_handler_users(const std::vector<HandlerConfig>& handlers,
                                 const std::optional<Policy>& policy, bool root) {
  for (const HandlerConfig& handler : handlers) {
    if (handler.user.empty() || is_own_user(handler.user)) continue;
    if (!root) {
      return fail(ErrorKind::kInvalid,
                  handler.place + ": user '" + handler.user +
                      "': only an agent that runs as root can run handlers as another user; leave "
                      "it out, or run the agent as root");
    }
    if (policy && !policy->allows_user(handler.user)) {
      return fail(ErrorKind::kInvalid, handler.place + ": user '" + handler.user +
                                           "': not among the handler_users of the policy");
    }
  }
  return {};
}

}  // namespace

Result<std::optional<Policy>> load_policy(const Config& config,
                                          const std::vector<HandlerConfig>& handlers) {
  auto policy = load_policy(config);
  if (!policy) return policy;
  if (auto users = check_handler_users(handlers, *policy, ::geteuid() == 0); !users) {
    return tl::unexpected(users.error());
  }
  return policy;
}

Result<void> Agent::open_gate() {
  auto policy = load_policy(config_, config_.event_handlers);
  if (!policy) return tl::unexpected(policy.error());
  Gate::Options options{.operators = Operators(config_.trusted_operators, state_.operators),
                        .used = UsedOrders(std::move(state_.orders)),
                        .policy = *std::move(policy),
                        .audit_file = config_.audit_file,
                        .tags = [this] { return cluster_->node().self().tags; }};
  auto gate = Gate::open(*log_, std::move(options));
  if (!gate) return tl::unexpected(gate.error());
  gate_ = *std::move(gate);
  warn_of_unknown_operators();
  return {};
}

/// A rule for somebody whom nobody here knows is a slip of the pen, or a key that is still to come.
void Agent::warn_of_unknown_operators() {
  if (!gate_->policy()) return;
  for (const PolicyRule& rule : gate_->policy()->rules) {
    for (const std::string& who : rule.operators) {
      const bool known =
          who == "any" || who == "unsigned" ||
          std::ranges::any_of(gate_->operators().list(), [&](const Operators::Entry& entry) {
            return entry.named.name == who || entry.named.key.id() == who;
          });
      if (known) continue;
      log_->warn("audit", rule.place + ": this agent trusts no operator '" + who +
                              "': the rule counts for nobody until it does");
    }
  }
}

void Agent::add_judges(ClusterHooks& hooks) {
  hooks.judge_event = [this](const membership::UserEventArrived& event) {
    const ArrivedOrder arrived = arrived_order(event);
    return gate_->judge(arrived.order, arrived.authorization, event.origin,
                        handler_event_id(event));
  };
  hooks.judge_query = [this](const membership::QueryArrived& query) {
    const auto arrived = arrived_order(query);
    if (!arrived) return OrderVerdict{};
    return gate_->judge(arrived->order, arrived->authorization, query.source,
                        query_event_id(query.id));
  };
}

void Agent::add_permits(handlers::DispatcherHooks& hooks) {
  hooks.permits = [this](const handlers::Event& event, const std::string& handler) {
    return gate_->allows_handler(kind_of(event), event.name, signer_of(event), handler);
  };
  hooks.not_permitted = [this](const handlers::Event& event, const std::string& handler) {
    gate_->handler_refused(kind_of(event), event.name, signer_of(event), handler);
  };
}

void Agent::take_over_trust(const Config& loaded, std::optional<Policy> policy) {
  gate_->operators().reconfigure(loaded.trusted_operators);
  gate_->set_policy(std::move(policy));
  if (auto reopened = gate_->reopen(); !reopened) {
    log_->error("audit", reopened.error().message);
  }
  config_.trusted_operators = loaded.trusted_operators;
  config_.policy_file = loaded.policy_file;
  warn_of_unknown_operators();
  admission_->review();
}

}  // namespace starling::agent
