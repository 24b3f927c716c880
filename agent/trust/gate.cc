// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/gate.h"

#include <utility>

#include "proto/support/unix_time.h"

namespace starling::agent {

namespace {

// Clocks that differ by less than this do not matter.
constexpr int64_t kClocksApart_ms = int64_t{24} * 3600 * 1000;

/// "by alice (0123456789abcdef)", "unsigned", "by the unknown key 0123456789abcdef".
std::string who(const Signer& signer, const std::string& stranger) {
  if (!signer.nobody()) return "by " + signer.name + " (" + signer.key_id + ")";
  if (!stranger.empty()) return "by the unknown key " + stranger;
  return "unsigned";
}

std::string sentence(const Order& order, const Signer& signer, const std::string& stranger,
                     const std::string& via, const std::string& id) {
  const std::string from = signer.nobody() && stranger.empty() ? " by " : " through ";
  return order.describe() + " " + who(signer, stranger) + from + via + " [" + id + "]";
}

}  // namespace

Gate::Gate(Log& log, Options options)
    : operators_(std::move(options.operators)),
      used_(std::move(options.used)),
      policy_(std::move(options.policy)),
      audit_(log, std::move(options.audit_file)),
      clock_(std::move(options.clock)),
      tags_(std::move(options.tags)) {}

Result<std::unique_ptr<Gate>> Gate::open(Log& log, Options options) {
  std::unique_ptr<Gate> gate(new Gate(log, std::move(options)));
  if (auto opened = gate->reopen(); !opened) return tl::unexpected(opened.error());
  return gate;
}

Gate::Clock Gate::system_clock() {
  return unix_milliseconds;
}

Gate::Reading Gate::read(const Order& order, std::string_view authorization) const {
  Reading reading;
  if (authorization.empty()) return reading;
  auto verified = verify_order(order, authorization);
  if (!verified) {
    reading.refusal = Refusal::kSignature;
    reading.why = verified.error().message;
    return reading;
  }
  const std::string* name = operators_.name_of(verified->key);
  if (name == nullptr) {
    reading.stranger = verified->key.id();
    return reading;
  }
  reading.signer = {*name, verified->key.id()};
  const int64_t now = clock_();
  if (verified->not_after_ms - now > kMostValidity_ms + kClocksApart_ms) {
    reading.refusal = Refusal::kSignature;
    reading.why = "it is valid for longer than 30 days, or this host's clock is wrong";
    return reading;
  }
  const auto fresh = used_.check(verified->key, verified->nonce, verified->not_after_ms, now);
  if (!fresh) {
    const bool used = fresh.error().kind == ErrorKind::kConflict;
    reading.refusal = used ? Refusal::kUsed : Refusal::kExpired;
    reading.why = fresh.error().message;
    return reading;
  }
  reading.signed_order = *std::move(verified);
  return reading;
}

std::string Gate::policy_text(const Order& order, const Reading& reading) const {
  std::string text = "refused by policy: no rule allows ";
  text += order_kind_name(order.kind);
  if (!order.name.empty() && order.kind != OrderKind::kForceLeave) text += " '" + order.name + "'";
  if (!reading.signer.nobody()) {
    text += " to " + reading.signer.name;
  } else if (!reading.stranger.empty()) {
    text += " to the key " + reading.stranger + ", which this agent does not trust";
  } else {
    text += " unsigned";
  }
  if (policy_->allows_somewhere(order.kind, order.name, reading.signer)) {
    text += " on an agent with its tags";
  }
  return text;
}

Result<void> Gate::check(const Order& order, std::string_view authorization) const {
  const Reading reading = read(order, authorization);
  if (reading.refusal) return fail(ErrorKind::kConflict, "refused: " + reading.why);
  if (!policy_ || policy_->allows_somewhere(order.kind, order.name, reading.signer)) return {};
  return fail(ErrorKind::kConflict, policy_text(order, reading));
}

OrderVerdict Gate::judge(const Order& order, std::string_view authorization, const std::string& via,
                         const std::string& id) {
  const Reading reading = read(order, authorization);
  OrderVerdict verdict;
  verdict.signer = reading.signer;
  if (reading.signed_order) {
    const SignedOrder& told = *reading.signed_order;
    verdict.used = used_.use(told.key, told.nonce, told.not_after_ms, clock_());
  }
  std::optional<Refusal> refusal = reading.refusal;
  if (refusal) {
    verdict.reason = "refused: " + reading.why;
  } else if (policy_ && !policy_->allows(order.kind, order.name, reading.signer, own_tags())) {
    refusal = Refusal::kPolicy;
    verdict.reason = policy_text(order, reading);
  }
  verdict.allowed = !refusal;
  const std::string text = sentence(order, reading.signer, reading.stranger, via, id);
  if (refusal) {
    count(*refusal);
    audit_.refused("refused " + text + ": " + verdict.reason, clock_());
    return verdict;
  }
  ++(reading.signer.nobody() ? statistics_.accepted_unsigned : statistics_.accepted_signed);
  // Where nobody asks who ordered what, the log stays as short as Serf's.
  if (policy_ || audit_.has_file() || !reading.signer.nobody()) audit_.accepted("accepted " + text);
  return verdict;
}

void Gate::count(Refusal refusal) {
  switch (refusal) {
    case Refusal::kPolicy:
      ++statistics_.refused_policy;
      return;
    case Refusal::kSignature:
      ++statistics_.refused_signature;
      return;
    case Refusal::kUsed:
      ++statistics_.refused_used;
      return;
    case Refusal::kExpired:
      ++statistics_.refused_expired;
      return;
  }
}

std::optional<std::string> Gate::entitled_to_nodes(const OperatorKey& key) const {
  const std::string* name = operators_.name_of(key);
  if (name == nullptr) return std::nullopt;
  const bool allowed =
      !policy_ || policy_->allows_somewhere(OrderKind::kNodes, "", {*name, key.id()});
  return allowed ? std::optional(*name) : std::nullopt;
}

bool Gate::allows_handler(OrderKind kind, std::string_view name, const Signer& signer,
                          std::string_view handler) const {
  return !policy_ || policy_->allows_handler(kind, name, signer, own_tags(), handler);
}

void Gate::handler_refused(OrderKind kind, std::string_view name, const Signer& signer,
                           std::string_view handler) {
  ++statistics_.refused_handlers;
  audit_.refused("refused to run handler " + std::string(handler) + " for " +
                     std::string(order_kind_name(kind)) + " \"" + std::string(name) + "\" " +
                     who(signer, {}) + ": no rule that allows it names this handler",
                 clock_());
}

GateStatistics Gate::statistics() const {
  GateStatistics statistics = statistics_;
  statistics.forgotten_orders = used_.forgotten_early();
  statistics.unwritten_refusals = audit_.unwritten();
  return statistics;
}

}  // namespace starling::agent
