// SPDX-License-Identifier: Apache-2.0
//
// Cluster: drives membership::Node in this process. Feeds it what the Transport hears and what
// time it is, carries out what it asks for, keeps in the Store what must survive, and tells the
// hooks what happened.
//
// Event-loop thread only. Hooks and callbacks run from the loop, never inside a call, and may call
// back; they must not destroy the Cluster.
//
// What is delivered once must have been written down before: an event or query reaches its hook
// when the store has it, in the order of arrival. When the disk refuses, it is delivered all the
// same (the store tells that it is not well), and a restart may then deliver it again.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/log.h"
#include "agent/net/keyring.h"
#include "agent/net/resolve.h"
#include "agent/net/transport.h"
#include "agent/store/store.h"
#include "agent/trust/verdict.h"
#include "membership/node.h"
#include "proto/support/result.h"

namespace starling::agent {

struct ClusterOptions {
  membership::Address bind;
  /// From the port that was bound to the address that others are told.
  std::function<Result<membership::Address>(uint16_t bound_port)> advertise;
  std::string name;
  std::map<std::string, std::string> tags;
  membership::Options protocol;
};

struct ClusterHooks {
  std::function<void(const membership::MemberEvent&)> member;
  /// Asked once for each event and query before it is written down. None: all are allowed.
  std::function<OrderVerdict(const membership::UserEventArrived&)> judge_event;
  std::function<OrderVerdict(const membership::QueryArrived&)> judge_query;
  /// Came and was allowed; not written down yet. For those who only look on. True: a handler wants
  /// it, so that it has to be pending in the store until its jobs are planned.
  std::function<bool(const membership::UserEventArrived&)> user_event_seen;
  /// Kept for others. `pending`: see user_event_seen; false when it was refused.
  std::function<void(const membership::UserEventArrived&, const OrderVerdict&, bool pending)>
      user_event;
  /// The cluster itself answers those that were refused.
  std::function<void(const membership::QueryArrived&, const OrderVerdict&)> query;
  /// The asker of a query that was delivered wants no more answers.
  std::function<void(const membership::MessageId&)> query_over;
  /// Our leave has been told to the others.
  std::function<void()> left;
};

struct JoinOutcome {
  size_t contacted = 0;                                       ///< targets that worked
  std::vector<std::pair<std::string, std::string>> failures;  ///< target, reason
};

struct ClusterStatistics {
  uint64_t stalls = 0;  ///< times that the loop was late by more than kStall
  membership::Duration longest_stall{0};
  uint64_t undecided_events = 0;  ///< delivered although the store refused them
};

class Cluster {
 public:
  /// The loop being this late is noted and logged.
  static constexpr membership::Duration kStall = std::chrono::milliseconds(100);
  /// Targets of one join.
  static constexpr size_t kMaxTargets = 1024;

  /// Binds, and builds the node from `state`. `io`, `log` and `store` outlive it. Nothing happens
  /// before start(). kUnavailable: the address cannot be bound or advertised; kInvalid.
  static Result<std::unique_ptr<Cluster>> open(asio::io_context& io, Log& log, Store& store,
                                               const Keyring& keyring, ClusterOptions options,
                                               const StoredState& state);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  /// Once. The first member event is this node's own.
  void start(ClusterHooks hooks);

  // --- commands ---
  using JoinDone = std::function<void(const JoinOutcome&)>;
  /// Looks the targets up ("host", "host:port", "name/host:port", "[v6]:port") and contacts all of
  /// them at once. A target worked if one of its addresses did.
  void join(const std::vector<std::string>& targets, bool replay, JoinDone done);
  /// The same without looking up.
  void join(const membership::Address& address, bool replay, JoinDone done);
  /// Whether joins are to bring events from before a first join even if not asked for: for
  /// handlers that want them (EventTiming::kBeforeJoin). A replay that was asked for is kMissed.
  void set_wants_past(bool wants) { wants_past_ = wants; }
  /// ClusterHooks::left follows.
  void leave();
  Result<void> force_leave(std::string_view name, bool prune);

  struct SentEvent {
    membership::MessageId id;
    membership::LamportTime ltime = 0;
  };
  using EventDone = std::function<void(const Result<SentEvent>&)>;
  /// `done` when the store has it (or not: it is then on its way all the same). An error that is
  /// returned means that nothing was sent.
  Result<void> send_event(std::string_view name, std::string_view payload, bool coalesce,
                          EventDone done, std::string_view authorization = {});

  struct ConfirmListener {
    std::function<void(const membership::EventConfirmed&)> confirmed;
    std::function<void(const membership::ConfirmEnded&)> ended;
  };
  /// Asks all live members whether they have this event. The result names the confirmation.
  Result<membership::MessageId> confirm_event(const membership::MessageId& event,
                                              membership::Duration timeout,
                                              ConfirmListener listener);
  /// The listener hears no more.
  void cancel_confirm(const membership::MessageId& confirm);

  struct QueryListener {
    std::function<void(const membership::QueryAnswered&)> answered;
    std::function<void(const membership::QueryEnded&)> ended;
  };
  Result<membership::QueryHandle> send_query(const membership::QueryOptions& query,
                                             QueryListener listener);
  /// The listener hears no more.
  void cancel_query(const membership::MessageId& query);
  void answer_query(const membership::MessageId& query, membership::Answer answer);

  Result<void> set_tags(std::map<std::string, std::string> tags);
  /// See Transport::set_keyring.
  void set_keyring(const Keyring& keyring) { transport_->set_keyring(keyring); }
  /// See membership::Node::set_admission and review_members.
  void set_admission(membership::Admission admitted);
  void review_members();
  /// See membership::Node::set_rates.
  void set_rates(const membership::Options& options);

  /// What the store is given at leisure and does not have yet; to be saved when the agent stops.
  [[nodiscard]] Changes take_unsaved();

  // --- views ---
  [[nodiscard]] const membership::Node& node() const { return *node_; }
  [[nodiscard]] const Transport& transport() const { return *transport_; }
  [[nodiscard]] const ClusterStatistics& statistics() const { return statistics_; }
  /// Whether an earlier process of this agent knew members to come back to.
  [[nodiscard]] bool knows_members() const { return knows_members_; }

 private:
  struct Batch;
  /// One join command.
  struct Join {
    bool replay = false;
    JoinDone done;
    size_t open = 0;  ///< targets without a result
    JoinOutcome outcome;
  };
  /// One target of it, whose addresses the node is trying.
  struct Contact {
    uint64_t join = 0;
    std::string target;
    size_t open = 0;  ///< addresses without a result
    bool worked = false;
    std::string error;
  };

  Cluster(asio::io_context& io, Log& log, Store& store);
  Result<void> build(const Keyring& keyring, ClusterOptions options, const StoredState& state);
  Transport::Callbacks transport_callbacks();
  [[nodiscard]] membership::Restored restored(const StoredState& state);

  static membership::TimePoint now();
  /// Carries out all that the node asks for, and sets the timer.
  void pump();
  void pump_later();
  void arm();
  void timer_fired();
  void note_stall(membership::Duration late);
  void save_soon();
  Changes take_clocks_and_members();
  void save_coordinates_later();
  PutCoordinates changed_coordinates();

  void carry_out(Batch& batch, membership::Action& action);
  void event_arrived(Batch& batch, membership::UserEventArrived event);
  void query_arrived(Batch& batch, membership::QueryArrived query);
  void member_changed(const membership::MemberEvent& event);
  void save(Batch batch);
  void deliver(const Batch& batch, const Result<void>& saved);
  void join_tried(const membership::JoinTried& tried);
  void contact(uint64_t join, const std::string& target,
               const std::vector<membership::Address>& addresses);
  /// `error` is empty when it worked.
  void target_done(uint64_t join, const std::string& target, const std::string& error);
  void trace(const membership::Trace& trace);

  asio::io_context& io_;
  Log& log_;
  Store& store_;
  ClusterHooks hooks_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<membership::Node> node_;
  Resolver resolver_;

  asio::steady_timer timer_;
  membership::TimePoint armed_ = membership::kNever;
  bool started_ = false;
  bool pumping_ = false;
  bool pump_posted_ = false;
  asio::steady_timer save_timer_;  // of the clocks, and of members
  membership::TimePoint save_at_ = membership::kNever;
  membership::Clocks saved_clocks_;
  std::unordered_map<membership::NodeId, Change> unsaved_members_;  // PutMember, DropMember
  membership::TimePoint members_paid_until_;  // each time that they are saved moves it on
  asio::steady_timer coordinates_timer_;

  uint64_t next_join_ = 1;
  std::map<uint64_t, Join> joins_;
  std::map<uint64_t, Contact> contacts_;  // by the number that Node::join gave
  std::unordered_map<membership::MessageId, EventDone> own_events_;
  std::unordered_map<membership::MessageId, QueryListener> own_queries_;
  std::unordered_map<membership::MessageId, ConfirmListener> own_confirms_;
  bool knows_members_ = false;
  bool wants_past_ = false;
  bool replay_asked_ = false;
  ClusterStatistics statistics_;
  // What is posted, and callbacks of the store, hold a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace starling::agent
