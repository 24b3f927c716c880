// SPDX-License-Identifier: Apache-2.0
//
// The inside of run_agent(), for its own .cc files only: agent.cc starts and stops, agent_events.cc
// connects the parts.
#pragma once

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster.h"
#include "agent/config/config.h"
#include "agent/control/serf_server.h"
#include "agent/control/server.h"
#include "agent/control/service.h"
#include "agent/discovery.h"
#include "agent/job_desk.h"
#include "agent/job_ledger.h"
#include "agent/joiner.h"
#include "agent/key_keeper.h"
#include "agent/log.h"
#include "agent/missed_events.h"
#include "agent/notify.h"
#include "agent/statsd.h"
#include "agent/store/store.h"
#include "agent/tag_keeper.h"
#include "agent/trust/admission_desk.h"
#include "agent/trust/gate.h"
#include "handlers/dispatcher.h"

namespace starling::agent {

/// The policy of the configuration, if it has one, and whether these handlers are in keeping with
/// it. Errors name the place.
Result<std::optional<Policy>> load_policy(const Config& config,
                                          const std::vector<HandlerConfig>& handlers);

class Agent {
 public:
  Agent(Config config, Environment environment);

  /// Builds all parts and begins to listen; nothing has been said to anybody on an error.
  Result<void> start();
  /// Until the end. The exit status.
  int run();

 private:
  // --- start (agent.cc) ---
  Result<void> open_log();
  Result<void> open_store();
  Result<void> open_cluster();
  Result<void> open_doors();
  Result<void> open_rpc();
  void open_statsd();
  Result<void> open_discovery();
  void begin();
  void joined();
  void print_banner() const;
  void beat();
  /// Gives back, a little later, the memory that what has just been done took.
  void settle();

  // --- connections (agent_events.cc) ---
  Result<void> open_dispatcher();
  ClusterHooks cluster_hooks();
  handlers::DispatcherHooks dispatcher_hooks();
  /// What the handlers of the configuration want of events that were missed.
  void set_missed_policy();
  void report_ways(const membership::MessageId& query);
  void answer_about_keys(const membership::QueryArrived& query);
  void answer_about_jobs(const membership::QueryArrived& query);
  void job_refused(const handlers::JobName& job, handlers::DropReason reason);
  void job_finished(const handlers::JobReport& report);
  void resume_jobs();

  // --- orders (agent_trust.cc) ---
  Result<void> open_gate();
  void warn_of_unknown_operators();
  void add_judges(ClusterHooks& hooks);
  void add_permits(handlers::DispatcherHooks& hooks);
  void take_over_trust(const Config& loaded, std::optional<Policy> policy);

  // --- while it runs, and the end (agent.cc) ---
  void wait_for_signal();
  void signalled(int number);
  Result<void> reload();
  Result<void> take_over(Config loaded);
  void leave(std::function<void()> told);
  void left();
  /// Ends handlers, writes what is queued, ends the loop.
  void stop(int status);
  [[noreturn]] void end_now(int status);
  void fail_start(const std::string& error);
  /// Nobody is joined any more.
  void stop_joining();

  Config config_;
  const Environment environment_;
  asio::io_context io_{1};
  Notify notify_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Store> store_;
  StoredState state_;  // until the parts have taken it
  std::unique_ptr<TagKeeper> tags_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<JobLedger> jobs_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<AdmissionDesk> admission_;
  std::unique_ptr<handlers::Dispatcher> dispatcher_;
  std::unique_ptr<MissedEvents> missed_;  // before it in the way of an event
  std::unique_ptr<JobDesk> desk_;
  std::unique_ptr<KeyKeeper> keys_;
  std::unique_ptr<Joiner> joiner_;
  std::unique_ptr<Discovery> discovery_;  // none: others are not looked for
  std::unique_ptr<Service> service_;
  std::unique_ptr<UnixServer> server_;
  std::unique_ptr<SerfServer> rpc_;  // none: not offered
  std::unique_ptr<Statsd> statsd_;   // none: nobody is told
  asio::signal_set signals_;
  asio::steady_timer watchdog_;
  asio::steady_timer settling_;
  asio::steady_timer deadline_;  // of the leave, then of the stop

  uint64_t member_events_ = 0;
  std::vector<std::function<void()>> leave_told_;
  bool leaving_ = false;
  bool stopping_ = false;
  int status_ = 1;
};

}  // namespace starling::agent
