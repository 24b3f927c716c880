// SPDX-License-Identifier: Apache-2.0
//
// What users ask of the cluster. What follows from a command is carried out in a later turn of the
// loop, so that nobody is called back from within a call.
#include <algorithm>
#include <asio/post.hpp>
#include <utility>

#include "agent/cluster.h"

namespace starling::agent {

namespace {

// A name with many addresses is usually one host, or a list of equals: a few will do.
constexpr size_t kMaxAddresses = 16;

}  // namespace

// --- join --------------------------------------------------------------------------------------

void Cluster::join(const std::vector<std::string>& targets, bool replay, JoinDone done) {
  const uint64_t id = next_join_++;
  const size_t count = std::min(targets.size(), kMaxTargets);
  Join& join = joins_[id];
  join = {replay, std::move(done), count, {}};
  for (size_t i = count; i < targets.size(); ++i) {
    join.outcome.failures.emplace_back(
        targets[i], "more than " + std::to_string(kMaxTargets) + " addresses in one join");
  }
  if (count == 0) {
    asio::post(io_, [this, id, alive = std::weak_ptr<bool>(alive_)] {
      if (!alive.lock()) return;
      auto empty = joins_.extract(id);
      empty.mapped().done(empty.mapped().outcome);
    });
  }
  for (size_t i = 0; i < count; ++i) {
    resolver_.resolve(targets[i], [this, id, target = targets[i]](const auto& addresses) {
      if (addresses) {
        contact(id, target, *addresses);
      } else {
        target_done(id, target, addresses.error().message);
      }
    });
  }
}

void Cluster::join(const membership::Address& address, bool replay, JoinDone done) {
  const uint64_t id = next_join_++;
  joins_[id] = {replay, std::move(done), 1, {}};
  contact(id, address.to_string(), {address});
}

void Cluster::contact(uint64_t join, const std::string& target,
                      const std::vector<membership::Address>& addresses) {
  std::vector<membership::Address> some = addresses;
  if (some.size() > kMaxAddresses) some.resize(kMaxAddresses);
  const bool replay = joins_.at(join).replay;
  replay_asked_ = replay_asked_ || replay;
  const uint64_t number = node_->join(now(), some, replay || wants_past_);
  contacts_[number] = {join, target, some.size(), false, {}};
  pump_later();
}

void Cluster::join_tried(const membership::JoinTried& tried) {
  const auto found = contacts_.find(tried.join);
  if (found == contacts_.end()) return;
  Contact& contact = found->second;
  if (tried.ok) contact.worked = true;
  if (!tried.ok && contact.error.empty()) contact.error = tried.error;
  // One address that works is enough; what the others say is not waited for.
  if (--contact.open > 0 && !tried.ok) return;
  const Contact over = std::move(contact);
  contacts_.erase(found);
  target_done(over.join, over.target, over.worked ? "" : over.error);
}

void Cluster::target_done(uint64_t join, const std::string& target, const std::string& error) {
  const auto found = joins_.find(join);
  JoinOutcome& outcome = found->second.outcome;
  if (error.empty()) {
    ++outcome.contacted;
  } else {
    outcome.failures.emplace_back(target, error);
  }
  if (--found->second.open > 0) return;
  const Join over = std::move(found->second);
  joins_.erase(found);
  if (over.done) over.done(over.outcome);
}

// --- leave -------------------------------------------------------------------------------------

void Cluster::leave() {
  store_.save({PutLeft{true}, node_->clocks()});
  node_->leave(now());
  pump_later();
}

Result<void> Cluster::force_leave(std::string_view name, bool prune) {
  auto result = node_->force_leave(now(), name, prune);
  pump_later();
  return result;
}

// --- events, queries, tags ---------------------------------------------------------------------

Result<void> Cluster::send_event(std::string_view name, std::string_view payload, bool coalesce,
                                 EventDone done, std::string_view authorization) {
  auto id = node_->send_event(now(), name, payload, coalesce, authorization);
  pump_later();
  if (!id) return tl::unexpected(id.error());
  own_events_.emplace(*id, std::move(done));
  return {};
}

Result<membership::MessageId> Cluster::confirm_event(const membership::MessageId& event,
                                                     membership::Duration timeout,
                                                     ConfirmListener listener) {
  auto confirm = node_->confirm_event(now(), event, timeout);
  pump_later();
  if (!confirm) return tl::unexpected(confirm.error());
  own_confirms_.emplace(confirm->id, std::move(listener));
  return confirm->id;
}

void Cluster::cancel_confirm(const membership::MessageId& confirm) {
  own_confirms_.erase(confirm);
  node_->cancel_confirm(now(), confirm);
  pump_later();
}

Result<membership::QueryHandle> Cluster::send_query(const membership::QueryOptions& query,
                                                    QueryListener listener) {
  auto handle = node_->send_query(now(), query);
  pump_later();
  if (handle) own_queries_.emplace(handle->id, std::move(listener));
  return handle;
}

void Cluster::cancel_query(const membership::MessageId& query) {
  own_queries_.erase(query);
  node_->cancel_query(now(), query);
  pump_later();
}

void Cluster::answer_query(const membership::MessageId& query, membership::Answer answer) {
  auto answered = node_->answer_query(now(), query, std::move(answer));
  if (!answered) {
    // One that nobody waits for any more is nothing to worry about.
    const bool over = answered.error().kind == ErrorKind::kNotFound;
    log_.write(over ? LogLevel::kDebug : LogLevel::kWarn, "cluster",
               "query " + query.to_string() + ": " + answered.error().message);
  }
  pump_later();
}

Result<void> Cluster::set_tags(std::map<std::string, std::string> tags) {
  auto result = node_->set_tags(now(), std::move(tags));
  pump_later();
  return result;
}

void Cluster::set_admission(membership::Admission admitted) {
  node_->set_admission(now(), std::move(admitted));
  pump_later();
}

void Cluster::review_members() {
  node_->review_members(now());
  pump_later();
}

void Cluster::set_rates(const membership::Options& options) {
  node_->set_rates(now(), options);
  pump_later();
}

}  // namespace starling::agent
