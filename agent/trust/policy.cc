// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/policy.h"

#include <algorithm>

#include "handlers/policy.h"

namespace starling::agent {

namespace {

constexpr std::string_view kUnsigned = "unsigned";
constexpr std::string_view kAny = "any";

bool any_glob(const std::vector<std::string>& patterns, std::string_view text) {
  return std::ranges::any_of(
      patterns, [&](const std::string& pattern) { return handlers::glob_matches(pattern, text); });
}

}  // namespace

bool PolicyRule::meets(const Signer& signer) const {
  return std::ranges::any_of(operators, [&](const std::string& each) {
    if (signer.nobody()) return each == kUnsigned;
    return each == kAny || each == signer.name || each == signer.key_id;
  });
}

bool PolicyRule::covers(OrderKind kind, std::string_view name) const {
  if (kind == OrderKind::kEvent) return any_glob(events, name);
  if (kind == OrderKind::kQuery) return any_glob(queries, name);
  return std::ranges::find(orders, kind) != orders.end();
}

bool PolicyRule::holds_for(const AgentTags& own) const {
  return std::ranges::all_of(tags, [&](const auto& wanted) {
    const auto found = own.find(wanted.first);
    return found != own.end() && handlers::glob_matches(wanted.second, found->second);
  });
}

bool Policy::allows(OrderKind kind, std::string_view name, const Signer& signer,
                    const AgentTags& own) const {
  return std::ranges::any_of(rules, [&](const PolicyRule& rule) {
    return rule.meets(signer) && rule.covers(kind, name) && rule.holds_for(own);
  });
}

bool Policy::allows_somewhere(OrderKind kind, std::string_view name, const Signer& signer) const {
  return std::ranges::any_of(
      rules, [&](const PolicyRule& rule) { return rule.meets(signer) && rule.covers(kind, name); });
}

bool Policy::allows_handler(OrderKind kind, std::string_view name, const Signer& signer,
                            const AgentTags& own, std::string_view handler) const {
  return std::ranges::any_of(rules, [&](const PolicyRule& rule) {
    return rule.meets(signer) && rule.covers(kind, name) && rule.holds_for(own) &&
           (rule.handlers.empty() || any_glob(rule.handlers, handler));
  });
}

bool Policy::allows_user(std::string_view user) const {
  return std::ranges::find(handler_users, user) != handler_users.end();
}

}  // namespace starling::agent
