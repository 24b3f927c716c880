// SPDX-License-Identifier: Apache-2.0
//
// The driving: inputs, time, actions, and what is kept of them. Commands: cluster_commands.cc.
#include "agent/cluster.h"

#include <sodium.h>

#include <algorithm>
#include <asio/post.hpp>
#include <utility>

#include "membership/limits.h"

namespace starling::agent {

using membership::MemberChange;
using membership::TimePoint;

namespace {

// Members that had failed are tried too after a restart: they may be those that are still there.
// The others of them are tried ever more rarely.
constexpr size_t kGoneToTry = 64;
constexpr size_t kDrainAtOnce = 512;
// The timer is moved when it would fire in vain so much too early.
constexpr auto kVoid = std::chrono::milliseconds(20);
constexpr auto kCoordinatesInterval = std::chrono::minutes(1);
constexpr auto kClocksInterval = std::chrono::milliseconds(500);
// Members are kept to come back to after a restart. They are written down at once, but when a
// thousand come together not each by itself: so many times at once, then once in this time.
constexpr auto kMembersInterval = std::chrono::seconds(1);
constexpr int kMembersAtOnce = 8;
constexpr size_t kMaxUnsavedMembers = 2048;  // more are not waited with
// A query is remembered for longer than it lasts: copies of it may be under way.
constexpr int64_t kRememberQuery_s = 120;

uint64_t random_seed() {
  uint64_t seed = 0;
  randombytes_buf(&seed, sizeof seed);
  return seed;
}

LogLevel level_of(membership::TraceLevel level) {
  switch (level) {
    case membership::TraceLevel::kTrace:
      return LogLevel::kTrace;
    case membership::TraceLevel::kDebug:
      return LogLevel::kDebug;
    case membership::TraceLevel::kInfo:
      return LogLevel::kInfo;
    case membership::TraceLevel::kWarn:
      return LogLevel::kWarn;
    case membership::TraceLevel::kError:
      return LogLevel::kError;
  }
  return LogLevel::kError;
}

std::string milliseconds(membership::Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
         " ms";
}

std::string events_missed_text(const membership::EventsMissed& missed) {
  const uint64_t count = missed.last - missed.first + 1;
  return std::to_string(count) + (count == 1 ? " user event" : " user events") + " of " +
         missed.origin_name + " missed for good: no member keeps " + (count == 1 ? "it" : "them") +
         " any longer; see event_retention";
}

}  // namespace

/// What one round of actions asks to be kept, and what waits for that.
struct Cluster::Batch {
  Changes changes;
  struct Delivery {
    std::optional<membership::UserEventArrived> event;
    std::optional<membership::QueryArrived> query;
    std::optional<membership::MessageId> over;  // a query's
    OrderVerdict verdict = {};
    bool pending = false;  // of an event: in the store, for its handlers
  };
  std::vector<Delivery> deliveries;  // in order of arrival
};

// --- building ----------------------------------------------------------------------------------

Cluster::Cluster(asio::io_context& io, Log& log, Store& store)
    : io_(io),
      log_(log),
      store_(store),
      resolver_(io),
      timer_(io),
      save_timer_(io),
      coordinates_timer_(io) {}

Cluster::~Cluster() = default;

Result<std::unique_ptr<Cluster>> Cluster::open(asio::io_context& io, Log& log, Store& store,
                                               const Keyring& keyring, ClusterOptions options,
                                               const StoredState& state) {
  std::unique_ptr<Cluster> cluster(new Cluster(io, log, store));
  if (auto built = cluster->build(keyring, std::move(options), state); !built) {
    return tl::unexpected(built.error());
  }
  return cluster;
}

Result<void> Cluster::build(const Keyring& keyring, ClusterOptions options,
                            const StoredState& state) {
  auto transport = Transport::open(io_, options.bind, keyring, store_.key().id, store_.epoch(),
                                   transport_callbacks());
  if (!transport) return tl::unexpected(transport.error());
  transport_ = std::move(*transport);
  auto address = options.advertise(transport_->local_address().port());
  if (!address) return tl::unexpected(address.error());
  membership::Identity identity{store_.key().id, store_.epoch(),          std::move(options.name),
                                *address,        std::move(options.tags), store_.key().keys};
  if (auto valid = membership::Node::validate_identity(identity); !valid) {
    return tl::unexpected(valid.error());
  }
  node_ =
      std::make_unique<membership::Node>(options.protocol, std::move(identity),
                                         membership::Random(random_seed()), now(), restored(state));
  saved_clocks_ = state.clocks;
  return {};
}

membership::Restored Cluster::restored(const StoredState& state) {
  membership::Restored restored;
  size_t gone = 0;
  for (const KnownMember& member : state.members) {
    if (member.id == store_.key().id || member.left) continue;
    if (restored.members.size() >= membership::kMaxMembers) continue;
    const bool lost = member.gone && ++gone > kGoneToTry;
    restored.members.push_back({member.id, member.name, member.address, lost});
  }
  knows_members_ = !restored.members.empty();
  restored.events = state.events;
  restored.progress = state.progress;
  restored.queries = state.queries;
  restored.coordinates = state.coordinates;
  for (membership::KnownCoordinate& each : restored.coordinates) {
    if (each.id == membership::NodeId()) each.id = store_.key().id;
  }
  restored.member_ltime = state.clocks.member;
  restored.event_ltime = state.clocks.event;
  restored.query_ltime = state.clocks.query;
  return restored;
}

Transport::Callbacks Cluster::transport_callbacks() {
  Transport::Callbacks callbacks;
  callbacks.on_datagram = [this](const membership::Address& from, std::string_view plain) {
    if (!started_) return;
    node_->receive_datagram(now(), from, plain);
  };
  callbacks.on_refused = [this](const membership::Address& peer) {
    if (!started_) return;
    node_->datagram_refused(now(), peer);
  };
  callbacks.on_delivered = [this] { pump(); };
  callbacks.on_accepted = [this](membership::StreamId stream, const membership::Address& from) {
    if (!started_) return transport_->close_stream(stream);
    node_->stream_accepted(now(), stream, from);
    pump();
  };
  callbacks.on_opened = [this](membership::StreamId stream) {
    node_->stream_opened(now(), stream);
    pump();
  };
  callbacks.on_message = [this](membership::StreamId stream, std::string_view message) {
    node_->receive_stream(now(), stream, message);
    pump();
  };
  callbacks.on_closed = [this](membership::StreamId stream, membership::StreamEnd end,
                               const std::string& why) {
    if (log_.enabled(LogLevel::kDebug)) log_.debug("net", why);
    node_->stream_closed(now(), stream, end);
    pump();
  };
  return callbacks;
}

void Cluster::start(ClusterHooks hooks) {
  hooks_ = std::move(hooks);
  started_ = true;
  pump();
  save_coordinates_later();
}

// --- time --------------------------------------------------------------------------------------

TimePoint Cluster::now() {
  return TimePoint(std::chrono::steady_clock::now().time_since_epoch());
}

void Cluster::arm() {
  const TimePoint due = node_->next_deadline();
  // A timer that fires too early costs less than setting it anew for every packet. But at rest,
  // when a probe has been answered and its deadline is void, that would be half of all wake-ups.
  if (due >= armed_ && (due == membership::kNever || due - armed_ < kVoid)) return;
  armed_ = std::max(due, now());
  timer_.expires_at(std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(armed_.time_since_epoch())));
  timer_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](const asio::error_code& error) {
    if (!error && alive.lock()) timer_fired();  // it may have fired before we went
  });
}

void Cluster::timer_fired() {
  note_stall(now() - std::exchange(armed_, membership::kNever));
  // What has arrived counts before what is late.
  transport_->drain(kDrainAtOnce);
  if (const TimePoint present = now(); present >= node_->next_deadline()) node_->advance(present);
  pump();
}

void Cluster::note_stall(membership::Duration late) {
  if (late < kStall) return;
  ++statistics_.stalls;
  statistics_.longest_stall = std::max(statistics_.longest_stall, late);
  log_.warn("cluster", "this agent did not run for " + milliseconds(late) +
                           ": the host is overloaded, or was suspended");
}

// --- actions -----------------------------------------------------------------------------------

void Cluster::pump() {
  if (!started_ || std::exchange(pumping_, true)) return;
  Batch batch;
  for (membership::Actions actions = node_->take_actions(); !actions.empty();
       actions = node_->take_actions()) {
    for (membership::Action& action : actions) carry_out(batch, action);
    node_->reuse(std::move(actions));
  }
  pumping_ = false;
  transport_->flush();
  if (!batch.changes.empty() || !batch.deliveries.empty()) save(std::move(batch));
  save_soon();
  arm();
}

void Cluster::pump_later() {
  if (std::exchange(pump_posted_, true)) return;
  asio::post(io_, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.lock()) return;
    pump_posted_ = false;
    pump();
  });
}

void Cluster::carry_out(Batch& batch, membership::Action& action) {
  const auto visit = [&](auto& one) {
    using T = std::decay_t<decltype(one)>;
    if constexpr (std::is_same_v<T, membership::SendDatagram>) {
      transport_->send(one.to, one.bytes);
    } else if constexpr (std::is_same_v<T, membership::OpenStream>) {
      const auto goal = one.connect_only ? StreamGoal::kConnect : StreamGoal::kTalk;
      transport_->open_stream(one.stream, one.to, one.timeout, goal);
    } else if constexpr (std::is_same_v<T, membership::SendStream>) {
      transport_->send_stream(one.stream, one.bytes);
    } else if constexpr (std::is_same_v<T, membership::CloseStream>) {
      transport_->close_stream(one.stream);
    } else if constexpr (std::is_same_v<T, membership::MemberEvent>) {
      member_changed(one);
    } else if constexpr (std::is_same_v<T, membership::UserEventArrived>) {
      event_arrived(batch, std::move(one));
    } else if constexpr (std::is_same_v<T, membership::QueryArrived>) {
      query_arrived(batch, std::move(one));
    } else if constexpr (std::is_same_v<T, membership::QueryOver>) {
      batch.deliveries.push_back({.event = {}, .query = {}, .over = one.id});
    } else if constexpr (std::is_same_v<T, membership::EventConfirmed>) {
      const auto found = own_confirms_.find(one.confirm);
      if (found == own_confirms_.end()) return;
      const auto confirmed = found->second.confirmed;  // it may cancel the confirmation
      if (confirmed) confirmed(one);
    } else if constexpr (std::is_same_v<T, membership::ConfirmEnded>) {
      auto listener = own_confirms_.extract(one.confirm);
      if (!listener.empty()) listener.mapped().ended(one);
    } else if constexpr (std::is_same_v<T, membership::QueryAnswered>) {
      const auto found = own_queries_.find(one.id);
      if (found == own_queries_.end()) return;
      const auto answered = found->second.answered;  // it may cancel the query
      answered(one);
    } else if constexpr (std::is_same_v<T, membership::QueryEnded>) {
      auto listener = own_queries_.extract(one.id);
      if (!listener.empty()) listener.mapped().ended(one);
    } else if constexpr (std::is_same_v<T, membership::JoinTried>) {
      join_tried(one);
    } else if constexpr (std::is_same_v<T, membership::LeaveDone>) {
      if (hooks_.left) asio::post(io_, hooks_.left);
    } else if constexpr (std::is_same_v<T, membership::Trace>) {
      trace(one);
    } else if constexpr (std::is_same_v<T, membership::EventsMissed>) {
      log_.warn("cluster", events_missed_text(one));
    } else {
      batch.changes.push_back(std::move(one));  // SaveProgress, ForgetEvent, ForgetProgress
    }
  };
  std::visit(visit, action);
}

/// What is ordered once and carried out once is written down in one piece: the event, that its
/// signature is used up, and that its handlers have yet to run.
void Cluster::event_arrived(Batch& batch, membership::UserEventArrived event) {
  // Who asked for a replay is given all of it; without, only handlers that name a policy.
  if (event.timing == membership::EventTiming::kBeforeJoin && replay_asked_) {
    event.timing = membership::EventTiming::kMissed;
  }
  OrderVerdict verdict = hooks_.judge_event ? hooks_.judge_event(event) : OrderVerdict{};
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(event.age).count();
  batch.changes.push_back(
      PutEvent{event.id, event.record, store_.unix_now() - age, own_events_.contains(event.id)});
  if (verdict.used) batch.changes.push_back(*verdict.used);
  const bool pending = verdict.allowed && hooks_.user_event_seen && hooks_.user_event_seen(event);
  if (pending) {
    batch.changes.push_back(
        PutPending{{event.id, event.ltime, event.name, event.payload, event.coalesce, event.timing,
                    verdict.signer.name, verdict.signer.key_id}});
  }
  batch.deliveries.push_back({.event = std::move(event),
                              .query = {},
                              .over = {},
                              .verdict = std::move(verdict),
                              .pending = pending});
}

void Cluster::query_arrived(Batch& batch, membership::QueryArrived query) {
  OrderVerdict verdict = hooks_.judge_query ? hooks_.judge_query(query) : OrderVerdict{};
  const auto left = std::chrono::ceil<std::chrono::seconds>(query.deadline - now()).count();
  batch.changes.push_back(PutQuery{query.id, store_.unix_now() + left + kRememberQuery_s});
  if (verdict.used) batch.changes.push_back(*verdict.used);
  batch.deliveries.push_back(
      {.event = {}, .query = std::move(query), .over = {}, .verdict = std::move(verdict)});
}

void Cluster::member_changed(const membership::MemberEvent& event) {
  const membership::Member& member = event.member;
  if (log_.enabled(LogLevel::kInfo)) {
    log_.info("cluster", std::string(membership::member_change_name(event.change)) + ": " +
                             member.name + " " + member.address.to_string());
  }
  const bool self = member.id == store_.key().id;
  const bool left = member.status == membership::Status::kLeft;
  if (!self && event.change == MemberChange::kReap && left) {
    unsaved_members_.insert_or_assign(member.id, DropMember{member.id});
  } else if (!self) {
    const bool gone = event.change == MemberChange::kFailed || event.change == MemberChange::kReap;
    unsaved_members_.insert_or_assign(
        member.id, PutMember{{member.id, member.name, member.address, store_.unix_now(), gone,
                              event.change == MemberChange::kLeave}});
  }
  if (hooks_.member) hooks_.member(event);
}

void Cluster::save(Batch batch) {
  Changes changes = std::move(batch.changes);
  store_.save(std::move(changes), [this, alive = std::weak_ptr<bool>(alive_),
                                   batch = std::move(batch)](const Result<void>& saved) {
    if (alive.lock()) deliver(batch, saved);
  });
}

void Cluster::deliver(const Batch& batch, const Result<void>& saved) {
  for (const Batch::Delivery& delivery : batch.deliveries) {
    if (delivery.over) {
      if (hooks_.query_over) hooks_.query_over(*delivery.over);
      continue;
    }
    if (!saved) ++statistics_.undecided_events;
    if (delivery.query) {
      if (!delivery.verdict.allowed) {
        answer_query(delivery.query->id,
                     {membership::ReplyKind::kRefused, {}, delivery.verdict.reason});
      } else if (hooks_.query) {
        hooks_.query(*delivery.query, delivery.verdict);
      }
      continue;
    }
    const membership::UserEventArrived& event = *delivery.event;
    auto waiting = own_events_.extract(event.id);
    if (hooks_.user_event) hooks_.user_event(event, delivery.verdict, delivery.pending);
    if (waiting.empty()) continue;
    if (saved) {
      waiting.mapped()(SentEvent{event.id, event.ltime});
    } else {
      waiting.mapped()(tl::unexpected(
          Error{saved.error().kind,
                "the event was sent, but this agent cannot keep it: " + saved.error().message}));
    }
  }
}

void Cluster::save_soon() {
  const membership::Clocks clocks = node_->clocks();
  if (clocks == saved_clocks_ && unsaved_members_.empty()) return;
  const TimePoint present = now();
  const bool only_members =
      clocks.event == saved_clocks_.event && clocks.query == saved_clocks_.query;
  TimePoint due = present + kClocksInterval;
  if (only_members) due = present + kMembersInterval;
  if (!unsaved_members_.empty()) {
    due = std::min(due, members_paid_until_ - kMembersAtOnce * kMembersInterval);
  }
  if (due <= present || unsaved_members_.size() >= kMaxUnsavedMembers) {
    save_timer_.cancel();
    return store_.save(take_clocks_and_members());
  }
  if (due >= save_at_) return;
  save_at_ = due;
  save_timer_.expires_at(std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(due.time_since_epoch())));
  const std::weak_ptr<bool> weak = alive_;
  save_timer_.async_wait([this, weak](const asio::error_code& error) {
    if (!error && weak.lock()) store_.save(take_clocks_and_members());
  });
}

Changes Cluster::take_clocks_and_members() {
  save_at_ = membership::kNever;
  Changes changes;
  changes.reserve(unsaved_members_.size() + 1);
  if (!unsaved_members_.empty()) {
    members_paid_until_ = std::max(members_paid_until_, now()) + kMembersInterval;
  }
  for (auto& [id, change] : std::exchange(unsaved_members_, {})) {
    changes.push_back(std::move(change));
  }
  saved_clocks_ = node_->clocks();
  changes.emplace_back(saved_clocks_);
  return changes;
}

Changes Cluster::take_unsaved() {
  Changes changes = take_clocks_and_members();
  changes.emplace_back(changed_coordinates());
  return changes;
}

void Cluster::save_coordinates_later() {
  coordinates_timer_.expires_after(kCoordinatesInterval);
  const std::weak_ptr<bool> weak = alive_;
  coordinates_timer_.async_wait([this, weak](const asio::error_code& error) {
    if (error || !weak.lock()) return;
    if (PutCoordinates changed = changed_coordinates(); !changed.coordinates.empty()) {
      store_.save({std::move(changed)});
    }
    save_coordinates_later();
  });
}

PutCoordinates Cluster::changed_coordinates() {
  PutCoordinates changed{node_->take_coordinates()};
  for (membership::KnownCoordinate& each : changed.coordinates) {
    if (each.id == store_.key().id) each.id = membership::NodeId();
  }
  return changed;
}

void Cluster::trace(const membership::Trace& trace) {
  const LogLevel level = level_of(trace.level);
  if (log_.enabled(level)) log_.write(level, "membership", trace.text);
}

}  // namespace starling::agent
