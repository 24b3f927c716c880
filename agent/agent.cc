// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <utility>

#include "agent/agent_impl.h"
#include "agent/config/tags_file.h"
#include "agent/control/socket_path.h"
#include "agent/handler_specs.h"
#include "agent/memory.h"
#include "membership/limits.h"

namespace starling::agent {

namespace {

// Handlers for queries that run when the agent stops: SIGTERM, and SIGKILL after this.
constexpr auto kHandlerGrace = std::chrono::seconds(3);
// For clients of Serf's RPC that have been told of the leave to close their connections.
constexpr auto kFarewell = std::chrono::milliseconds(500);
// After the start or a reload, until what that alone needed is given back.
constexpr auto kSettled = std::chrono::seconds(2);
// If stopping takes longer than this, something is broken: the agent ends all the same.
constexpr auto kStopLimit = std::chrono::seconds(8);

void print_error(const std::string& message) {
  std::fprintf(stderr, "starling agent: %s\n", message.c_str());
}

/// What reads and merges files has copies of keys in buffers of all kinds: glibc overwrites what is
/// given back meanwhile.
Result<Config> load_quietly(const std::vector<FlagValue>& flags, const Environment& environment) {
  ::mallopt(M_PERTURB, 0x55);
  auto config = load_config(flags, environment);
  ::mallopt(M_PERTURB, 0);
  return config;
}

}  // namespace

Agent::Agent(Config config, Environment environment)
    : config_(std::move(config)),
      environment_(std::move(environment)),
      notify_(environment_, ::getpid()),
      signals_(io_),
      watchdog_(io_),
      settling_(io_),
      deadline_(io_) {}

// --- start -------------------------------------------------------------------------------------

Result<void> Agent::start() {
  const auto specs = make_handler_specs(config_.event_handlers, config_);
  if (!specs) return tl::unexpected(specs.error());
  if (auto opened = open_log(); !opened) return opened;
  if (auto opened = open_store(); !opened) return opened;
  if (auto opened = open_gate(); !opened) return opened;
  if (auto opened = open_cluster(); !opened) return opened;
  if (auto opened = open_dispatcher(); !opened) return opened;
  joiner_ = std::make_unique<Joiner>(io_, *cluster_, *log_,
                                     JoinerOptions{.retry_join = config_.retry_join,
                                                   .retry_interval = config_.retry_interval,
                                                   .max_attempts = config_.retry_max_attempts},
                                     [this] { stop(1); });
  if (auto opened = open_discovery(); !opened) return opened;
  desk_ = std::make_unique<JobDesk>(io_, *jobs_, *dispatcher_);
  admission_ = std::make_unique<AdmissionDesk>(
      AdmissionDesk::Parts{
          .io = io_, .cluster = *cluster_, .store = *store_, .log = *log_, .gate = *gate_},
      config_.admission_required, state_.statements);
  service_ = std::make_unique<Service>(
      Service::Parts{.cluster = *cluster_,
                     .log = *log_,
                     .store = *store_,
                     .tags = *tags_,
                     .dispatcher = *dispatcher_,
                     .desk = *desk_,
                     .gate = *gate_,
                     .admission = *admission_,
                     .config = config_,
                     .leave = [this](std::function<void()> told) { leave(std::move(told)); },
                     .reload = [this] { return reload(); },
                     .door = [this] { return server_->counters(); },
                     .rpc = [this] { return rpc_ ? rpc_->counters() : SerfServerCounters{}; }});
  if (auto opened = open_doors(); !opened) return opened;
  open_statsd();
  begin();
  return {};
}

Result<void> Agent::open_doors() {
  server_ = std::make_unique<UnixServer>(io_, config_.control, *service_);
  if (auto listening = server_->listen(); !listening) return listening;
  if (auto given = give_to_group(config_.control, config_.control_group); !given) return given;
  if (config_.rpc_addr || !config_.rpc_socket.empty()) return open_rpc();
  return {};
}

/// Who asked for it gets it, or an error. Who did not may well have a second agent on this host.
Result<void> Agent::open_rpc() {
  SerfServerOptions options;
  options.address = config_.rpc_addr;
  options.path = config_.rpc_socket;
  options.auth = config_.rpc_auth;
  rpc_ = std::make_unique<SerfServer>(io_, std::move(options), *service_, *log_);
  auto listening = rpc_->listen();
  if (listening && !config_.rpc_socket.empty()) {
    listening = give_to_group(config_.rpc_socket, config_.control_group);
  }
  if (listening) return {};
  rpc_.reset();
  const std::string remedy = "; choose another address with rpc_addr (-rpc-addr), or none";
  if (config_.rpc_required) {
    return fail(listening.error().kind, listening.error().message + remedy);
  }
  log_->warn("rpc", listening.error().message + ": Serf's clients are not answered" + remedy);
  return {};
}

void Agent::open_statsd() {
  Statsd::Options options;
  options.host = config_.node_name;
  for (const std::string& server : {config_.statsd_addr, config_.statsite_addr}) {
    if (!server.empty()) options.servers.push_back(server);
  }
  if (options.servers.empty()) return;
  statsd_ = std::make_unique<Statsd>(io_, *log_, std::move(options),
                                     [this] { return service_->describe(); });
}

Result<void> Agent::open_discovery() {
  if (config_.discover.empty()) return {};
  auto program = find_discovery_program();
  if (!program) {
    return fail(program.error().kind, "discover: mDNS needs the program starling-discover, but " +
                                          program.error().message);
  }
  DiscoveryOptions options;
  options.program = std::move(*program);
  options.cluster = config_.discover;
  options.interface = config_.mdns_interface;
  options.ipv4 = !config_.mdns_disable_ipv4;
  options.ipv6 = !config_.mdns_disable_ipv6;
  options.replay = config_.replay_on_join;
  discovery_ = std::make_unique<Discovery>(io_, *cluster_, *log_, std::move(options));
  return {};
}

Result<void> Agent::open_log() {
  LogOptions options;
  options.level = config_.log_level;
  options.file = config_.log_file;
  options.to_syslog = config_.enable_syslog;
  options.syslog_facility = syslog_facility_code(config_.syslog_facility).value_or(0);
  auto log = Log::open(options);
  if (!log) return tl::unexpected(log.error());
  log_ = std::move(*log);
  for (const Warning& warning : config_.warnings) log_->warn("config", warning.to_string());
  if (config_.insecure && config_.key_names.empty()) {
    log_->warn("agent",
               "insecure: without a cluster key, whoever reaches " + config_.bind.to_string() +
                   " can join and command this host; give all members one (starling keygen)");
  }
  return {};
}

Result<void> Agent::open_store() {
  auto store = Store::open(io_, config_.data_dir);
  if (!store) return tl::unexpected(store.error());
  store_ = std::move(*store);
  for (const std::string& note : store_->notes()) log_->error("store", note);
  store_->set_health([this](const Result<void>& health) {
    if (health) return log_->info("store", "state is written again");
    log_->error("store", health.error().message +
                             ". The agent goes on, but will not remember what happens until then");
  });
  state_ = store_->take_state();
  if (state_.left) {
    store_->save({PutLeft{false}});
    if (!config_.rejoin_after_leave) state_.members.clear();
  }
  tags_ = std::make_unique<TagKeeper>(*store_, config_.tags, config_.tags_file,
                                      std::move(state_.live_tags));
  if (encoded_tags_size(tags_->effective()) > membership::kMaxTags) {
    log_->error("agent",
                "the tags set at run time and those of the configuration are too large together: "
                "those set at run time are dropped");
    tags_->drop_live();
  }
  JobLedgerOptions options;
  options.directory = config_.data_dir + "/jobs";
  options.retention.count = config_.jobs_kept;
  options.retention.age_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(config_.jobs_kept_for).count();
  options.retention.log_bytes = uint64_t{config_.job_logs_mib} << 20;
  auto jobs = JobLedger::open(io_, *store_, *log_, std::move(options));
  if (!jobs) return tl::unexpected(jobs.error());
  jobs_ = std::move(*jobs);
  return {};
}

Result<void> Agent::open_cluster() {
  auto keyring = config_.keys.empty() ? Result<Keyring>(Keyring::insecure())
                                      : Keyring::from_base64(config_.keys);
  if (!keyring) return tl::unexpected(keyring.error());
  ClusterOptions options;
  options.bind = config_.bind;
  options.advertise = [this](uint16_t port) {
    return advertise_address(config_, port, environment_);
  };
  options.name = config_.node_name;
  options.tags = tags_->effective();
  options.protocol = config_.options;
  auto cluster = Cluster::open(io_, *log_, *store_, *keyring, std::move(options), state_);
  if (!cluster) return tl::unexpected(cluster.error());
  cluster_ = std::move(*cluster);
  keys_ = std::make_unique<KeyKeeper>(
      *store_, config_.keys, config_.keyring_file,
      [this](const Keyring& ring, const std::vector<std::string>& keys) {
        cluster_->set_keyring(ring);
        config_.key_names = key_names_of(keys);
      });
  forget_keys(config_);
  tags_->set_publish([this](const TagKeeper::Map& tags) { return cluster_->set_tags(tags); });
  return {};
}

void Agent::begin() {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.add(SIGHUP);
  wait_for_signal();
  resume_jobs();
  admission_->begin();
  cluster_->start(cluster_hooks());
  beat();
  if (config_.start_join.empty()) return joined();
  joiner_->start_join(config_.start_join, config_.replay_on_join, [this](Result<size_t> contacted) {
    if (stopping_ || leaving_) return;
    if (!contacted) return fail_start(contacted.error().message);
    log_->info("cluster", "joined by contacting " + std::to_string(*contacted) + " of " +
                              std::to_string(config_.start_join.size()) + " members");
    joined();
  });
}

void Agent::joined() {
  joiner_->start();
  if (discovery_) discovery_->start();
  print_banner();
  notify_.ready();
  settle();
}

void Agent::print_banner() const {
  const membership::Node& node = cluster_->node();
  std::string text = "==> Starling agent running!\n";
  const auto line = [&text](const char* what, const std::string& value) {
    const std::string name(what);
    text += std::string(17 - std::min<size_t>(name.size(), 17), ' ') + name + ": " + value + "\n";
  };
  line("Node name", "'" + node.identity().name + "'");
  line("Node id", node.identity().id.to_string());
  line("Bind addr", "'" + cluster_->transport().local_address().to_string() + "'");
  line("Advertise addr", "'" + node.identity().address.to_string() + "'");
  line("Control", "'" + config_.control + "'");
  line("RPC addr", rpc_ ? "'" + rpc_->local_address() + "'" : "none");
  line("Data dir", "'" + config_.data_dir + "'");
  line("Encrypted", config_.key_names.empty() ? "false" : "true");
  line("Profile", config_.profile);
  text += "\n==> Log data will now stream in as it occurs:\n\n";
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

/// Shows the service manager that the loop turns.
void Agent::beat() {
  const auto interval = notify_.watchdog_interval();
  if (!interval) return;
  notify_.watchdog();
  watchdog_.expires_after(*interval);
  watchdog_.async_wait([this](const asio::error_code& error) {
    if (!error) beat();
  });
}

void Agent::settle() {
  settling_.expires_after(kSettled);
  settling_.async_wait([](const asio::error_code& error) {
    if (!error) give_back_memory();
  });
}

// --- signals and reload ------------------------------------------------------------------------

void Agent::wait_for_signal() {
  signals_.async_wait([this](const asio::error_code& error, int number) {
    if (error) return;
    wait_for_signal();
    signalled(number);
  });
}

void Agent::signalled(int number) {
  if (number == SIGHUP) {
    static_cast<void>(reload());
    return;
  }
  const bool interrupt = number == SIGINT;
  if (leaving_ || stopping_) {
    log_->warn("agent", "second signal: ending at once");
    end_now(1);
  }
  const bool graceful = interrupt ? !config_.skip_leave_on_interrupt : config_.leave_on_terminate;
  log_->info("agent", std::string(interrupt ? "interrupt" : "terminate") + " signal: " +
                          (graceful ? "leaving the cluster" : "stopping without leaving"));
  if (graceful) {
    leave({});
  } else {
    stop(1);
  }
}

Result<void> Agent::reload() {
  if (stopping_ || leaving_) return fail(ErrorKind::kConflict, "the agent is stopping");
  log_->info("agent", "reloading the configuration");
  notify_.reloading();
  if (auto reopened = log_->reopen(); !reopened) log_->error("agent", reopened.error().message);
  auto loaded = load_quietly(config_.flags, environment_);
  auto taken = loaded ? take_over(std::move(*loaded)) : tl::unexpected(loaded.error());
  if (!taken) {
    log_->error("agent", "nothing is reloaded: " + taken.error().message);
  }
  notify_.ready();
  settle();
  return taken;
}

Result<void> Agent::take_over(Config loaded) {
  auto specs = make_handler_specs(loaded.event_handlers, config_);
  if (!specs) return tl::unexpected(specs.error());
  auto policy = load_policy(loaded, loaded.event_handlers);
  if (!policy) return tl::unexpected(policy.error());
  if (auto taken = tags_->reconfigure(loaded.tags); !taken) return taken;
  for (const std::string& key : needs_restart(config_, loaded)) {
    log_->warn("config", key + " has changed: it takes effect when the agent is restarted");
  }
  forget_keys(loaded);
  take_over_trust(loaded, *std::move(policy));
  config_.tags = std::move(loaded.tags);
  config_.event_handlers = std::move(loaded.event_handlers);
  config_.log_level = loaded.log_level;
  config_.leave_on_terminate = loaded.leave_on_terminate;
  config_.skip_leave_on_interrupt = loaded.skip_leave_on_interrupt;
  cluster_->set_rates(loaded.options);
  config_.options = cluster_->node().options();
  log_->set_level(config_.log_level);
  dispatcher_->set_handlers(std::move(*specs));
  set_missed_policy();
  return {};
}

// --- the end -----------------------------------------------------------------------------------

void Agent::leave(std::function<void()> told) {
  if (told) leave_told_.push_back(std::move(told));
  if (stopping_ || std::exchange(leaving_, true)) return;
  notify_.stopping();
  stop_joining();
  deadline_.expires_after(config_.broadcast_timeout);
  deadline_.async_wait([this](const asio::error_code& error) {
    if (error || stopping_) return;
    log_->error("agent", "the leave was not told in time: ending without");
    stop(1);
  });
  cluster_->leave();
}

void Agent::left() {
  if (stopping_) return;
  log_->info("agent", "left the cluster");
  for (const auto& told : std::exchange(leave_told_, {})) told();
  stop(0);
}

void Agent::stop(int status) {
  if (std::exchange(stopping_, true)) return;
  status_ = status;
  notify_.stopping();
  stop_joining();
  deadline_.expires_after(kStopLimit);
  deadline_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    log_->error("agent", "stopping takes too long: ending at once");
    end_now(1);
  });
  dispatcher_->shutdown(kHandlerGrace, [this] {
    // The last thing to be written; what was saved before it is written before it.
    store_->save(cluster_->take_unsaved(), [this](const Result<void>&) {
      if (!rpc_) return io_.stop();
      rpc_->when_leavers_gone(kFarewell, [this] { io_.stop(); });
    });
  });
}

/// Without waiting for anything: not for the disk either, which may be what hangs.
void Agent::end_now(int status) {
  server_->close();
  if (rpc_) rpc_->close();
  dispatcher_.reset();  // what runs goes on
  ::_exit(status);
}

void Agent::stop_joining() {
  joiner_->stop();
  if (discovery_) discovery_->stop();
}

void Agent::fail_start(const std::string& error) {
  print_error(error);
  stop(1);
}

int Agent::run() {
  io_.run();
  server_->close();
  if (rpc_) rpc_->close();
  log_->info("agent", "stopped");
  return status_;
}

int check_agent(const std::vector<FlagValue>& flags) {
  const auto config = load_config(flags, Environment::of_process());
  if (!config) {
    print_error(config.error().message);
    return 1;
  }
  if (const auto specs = make_handler_specs(config->event_handlers, *config); !specs) {
    print_error(specs.error().message);
    return 1;
  }
  if (const auto policy = load_policy(*config, config->event_handlers); !policy) {
    print_error(policy.error().message);
    return 1;
  }
  for (const Warning& warning : config->warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.to_string().c_str());
  }
  for (const auto& [key, value] : config_values(*config)) {
    std::printf("%s: %s\n", key.c_str(), value.c_str());
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}

int run_agent(const std::vector<FlagValue>& flags) {
  // Writing to a client or a log that is gone is an error like others.
  std::signal(SIGPIPE, SIG_IGN);
  // Neither core dumps nor other processes of this user get at keys. Handlers are as ever: a new
  // program begins dumpable.
  ::prctl(PR_SET_DUMPABLE, 0);
  share_one_heap();
  try {
    const Environment environment = Environment::of_process();
    auto config = load_quietly(flags, environment);
    if (!config) {
      print_error(config.error().message);
      return 1;
    }
    if (config->allow_core_dumps) ::prctl(PR_SET_DUMPABLE, 1);
    Agent agent(std::move(*config), environment);
    if (auto started = agent.start(); !started) {
      print_error(started.error().message);
      return 1;
    }
    return agent.run();
  } catch (const std::exception& error) {
    print_error(std::string("internal error: ") + error.what());
    return 1;
  }
}

}  // namespace starling::agent
