// SPDX-License-Identifier: Apache-2.0
//
// Service: everything that a user can ask of an agent, behind every door. Requests and replies are
// those of proto/control.proto; doors only translate.
//
// Event-loop thread only. Bounded: monitors (kMaxMonitors); queries by the core's limit, and what
// their clients do not take (kMaxHeldBytes).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "agent/config/config.h"
#include "agent/control/query_offers.h"
#include "agent/control/serf_server.h"
#include "agent/control/server.h"
#include "agent/control/session.h"
#include "agent/job_desk.h"
#include "agent/log.h"
#include "agent/store/store.h"
#include "agent/tag_keeper.h"
#include "agent/trust/admission_desk.h"
#include "agent/trust/gate.h"
#include "handlers/dispatcher.h"
#include "handlers/spec.h"
#include "proto/control.pb.h"

namespace starling::agent {

class Service : public RequestHandler {
 public:
  static constexpr size_t kMaxMonitors = 256;
  /// Answers to queries that wait for slow clients, all together.
  static constexpr size_t kMaxHeldBytes = size_t{256} << 20;

  /// Counts since the start.
  struct Counters {
    uint64_t lost_answers = 0;     ///< to queries, over kMaxHeldBytes; the client is told whose
    uint64_t dropped_records = 0;  ///< of monitors that read too slowly; they are told how many
  };

  /// All outlive the service.
  struct Parts {
    Cluster& cluster;
    Log& log;
    Store& store;
    TagKeeper& tags;
    handlers::Dispatcher& dispatcher;
    JobDesk& desk;
    Gate& gate;
    AdmissionDesk& admission;
    const Config& config;  ///< the running one: it changes with a reload
    /// Begins to leave and stop; the callback runs when the others have been told.
    std::function<void(std::function<void()> told)> leave;
    std::function<Result<void>()> reload;
    /// What the doors count; may be empty.
    std::function<UnixServerCounters()> door = {};
    std::function<SerfServerCounters()> rpc = {};
  };
  explicit Service(Parts parts);
  ~Service() override;

  void handle(const std::shared_ptr<Session>& session, const control::Request& request) override;
  void session_closed(const std::shared_ptr<Session>& session) override;

  /// What this host's handlers say to a query; RPC clients that were shown it may have a say too.
  void handlers_answered(const membership::MessageId& query, membership::Answer answer);

  // What happened, for monitors:
  void saw(const membership::MemberEvent& event);
  void saw(const membership::UserEventArrived& event);
  void saw(const membership::QueryArrived& query);

  [[nodiscard]] const Counters& counters() const { return counters_; }
  /// What `info` tells.
  [[nodiscard]] control::InfoReply describe() const;
  /// Answers to queries that wait for clients to read.
  [[nodiscard]] size_t held_answers() const;

 private:
  /// Where the replies to one request go.
  struct Client {
    std::shared_ptr<Session> session;
    uint64_t request = 0;
  };
  struct Monitor {
    Client client;
    std::vector<handlers::Filter> filters;
    std::unique_ptr<Log::Watch> watch;
    bool answers_queries = false;
    uint64_t dropped = 0;  ///< since the last record that was taken
  };
  struct RunningQuery {
    membership::MessageId id;
    std::deque<control::Reply> held;  ///< answers that the client has had no room for
    size_t held_bytes = 0;
    bool waits_for_room = false;
    std::set<std::string> lost;          ///< members an answer of which could not be held
    std::optional<control::Reply> done;  ///< the end, which comes after all answers
  };

  /// The answers of one `reachability`.
  struct Gathering;

  static bool reply(const Client& client, control::Reply reply, bool done = true);
  static void reply_error(const Client& client, const std::string& error);
  static void reply_result(const Client& client, const Result<void>& result);

  void force_leave(const Client& client, const control::ForceLeaveRequest& request);
  void join(const Client& client, const control::JoinRequest& request);
  void leave(const Client& client);
  void members(const Client& client, const control::MembersRequest& request);
  void event(const Client& client, const control::EventRequest& request);
  void confirm(const Client& client, const membership::MessageId& event, uint64_t timeout_ms);
  void events(const Client& client, const control::EventsRequest& request);
  void query(const Client& client, const control::QueryRequest& request);
  void tags(const Client& client, const control::TagsRequest& request);
  void info(const Client& client);
  void monitor(const Client& client, const control::MonitorRequest& request);
  void stop_monitor(const Client& client, const control::StopRequest& request);
  void keys(const Client& client, const control::KeysRequest& request);
  void coordinate(const Client& client, const control::CoordinateRequest& request);
  void respond(const Client& client, const control::RespondRequest& request);
  void reachability(const Client& client);
  void operators(const Client& client, const control::OperatorsRequest& request);
  void list_operators(const Client& client);
  void nodes(const Client& client, const control::NodesRequest& request);
  void state_node(const Client& client, const control::NodesRequest& request);

  [[nodiscard]] bool admits(const Client& client, const Order& order,
                            const std::string& authorization);
  [[nodiscard]] bool obeys(const Client& client, const Order& order,
                           const std::string& authorization);

  void job(const Client& client, const control::JobRequest& request);
  void remote_job(const Client& client, const control::JobRequest& request);
  void gather_jobs(const Client& client, const control::JobRequest& request);

  /// Starts a query that ends with its client. False when an error was replied.
  bool start_query(const Client& client, const membership::QueryOptions& options,
                   Cluster::QueryListener listener, membership::QueryHandle* handle);
  void query_over(const Client& client);
  void query_ended(const Client& client, const membership::QueryEnded& ended);
  bool hand_on(const Client& client, RunningQuery& query, control::Reply answer);
  void wait_for_room(const Client& client, RunningQuery& query);
  void room(const Client& client);
  void finish_query(const Client& client);
  [[nodiscard]] control::Member to_wire(const membership::Member& member) const;
  /// `offered`: what a monitor may answer.
  void tell(const handlers::Event& event, control::MonitorRecord record,
            const membership::QueryArrived* offered = nullptr);
  void send_record(Monitor& monitor, const control::MonitorRecord& record);

  using Key = std::pair<const Session*, uint64_t>;
  static Key key_of(const Client& client) { return {client.session.get(), client.request}; }

  Parts parts_;
  std::map<Key, std::unique_ptr<Monitor>> monitors_;
  QueryOffers offers_;
  std::map<Key, membership::MessageId> confirms_;
  std::map<Key, RunningQuery> queries_;
  size_t held_bytes_ = 0;
  Counters counters_;
  std::map<Key, std::shared_ptr<Gathering>> reachability_;
  // Callbacks of sessions hold a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// The sections of `info`: Serf's names where Serf has the thing.
[[nodiscard]] control::InfoReply describe_agent(const Service::Parts& parts,
                                                const Service::Counters& counters);

}  // namespace starling::agent
