// SPDX-License-Identifier: Apache-2.0
//
// World: many processes, production membership::Nodes unless told otherwise, on simulated hosts in
// virtual time. It plays the daemon for each: feeds what arrives, fires the one timer, carries
// actions out, keeps on disk what must survive, answers queries. One seed decides everything; equal
// seeds and equal commands give equal trace hashes.
//
// Single-threaded. Nodes are named by index from 0; an index is a host, on which processes come
// and go.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "membership/node.h"
#include "test/simulation/disk.h"
#include "test/simulation/network.h"
#include "test/simulation/observer.h"
#include "test/simulation/process.h"
#include "test/simulation/streams.h"
#include "test/simulation/types.h"

namespace starling::simulation {

struct WorldOptions {
  uint64_t seed = 1;
  LinkModel links;
  membership::Options node = membership::Options::lan();
  /// A host whose process is dead answers datagrams with "port unreachable".
  bool refusals = true;
  /// One host tells another of a closed port this often on average (Linux: icmp_ratelimit), after
  /// six at once. Zero: every time.
  Duration refusal_interval = 1s;
  /// Bytes of datagrams that wait for a process which does not take them (Linux:
  /// net.core.rmem_default), and of those that a blocked one wants to send.
  size_t socket_buffer = 212'992;
  /// Timers fire late by up to this much.
  Duration timer_lateness = 200us;
  /// Rates of clocks are off by up to this many parts per million, either way.
  int clock_skew_ppm = 200;
  /// A query handler takes this long, evenly distributed.
  Duration handler_time_min = 1ms;
  Duration handler_time_max = 20ms;
  /// A failed attempt to join is repeated after this time.
  Duration join_retry = 2s;
  Duration sweep_interval = 5s;
  /// What runs on the hosts; empty: the production membership::Node.
  MakeProcess make_process;
};

/// What a simulated handler does with a query. No value: it never answers.
struct HandlerResult {
  Duration delay;
  membership::Answer answer;
  std::vector<HandlerResult> others = {};  ///< of further handlers on the same host
};
class World;
using QueryHandler =
    std::function<std::optional<HandlerResult>(World&, NodeIndex, const membership::QueryArrived&)>;

/// A host and the process on it, if one runs.
struct Host {
  std::string name;
  std::map<std::string, std::string> tags;
  membership::Options options;
  membership::NodeId id;
  uint32_t identities = 0;  ///< how many ids this host has had
  uint32_t epoch = 0;
  uint16_t moves = 0;
  Address address;
  Disk disk;
  LocalClock clock;
  std::vector<NodeIndex> seeds;  ///< joined through these, tried again until one answers
  bool replay = false;

  std::unique_ptr<Process> process;  ///< null when none runs
  membership::Node* node = nullptr;  ///< the production node in it; null when there is none
  uint32_t boot = 0;                 ///< processes started here so far
  TimePoint started;
  TimePoint joined = kNever;  ///< first contact with others since the last start without state
  bool up = true;             ///< the host, not the process
  bool paused = false;        ///< stopped: nothing runs
  bool blocked = false;       ///< takes and sends nothing, but its timers run
  bool disk_full = false;     ///< nothing more is kept
  Duration input_cost{};      ///< processor time that one input or timer takes
  bool leaving = false;
  bool left = false;          ///< the last process ended by leaving
  bool join_pending = false;  ///< an attempt to join will be repeated

  TimePoint armed = kNever;  ///< when the process' timer event is due

  /// What has arrived and was not taken yet.
  struct Waiting {
    enum class Kind : uint8_t { kDatagram, kRefused, kStream };
    Kind kind = Kind::kDatagram;
    Address from;
    std::string bytes;
    StreamInput stream;
  };
  std::deque<Waiting> waiting;
  size_t waiting_bytes = 0;  ///< of datagrams
  bool working = false;      ///< the next input or timer is being worked on
  bool timer_next = false;   ///< that is the timer
  unsigned inputs_in_row = 0;
  std::vector<membership::Action> held;  ///< what a blocked process wants to send
  size_t held_bytes = 0;                 ///< of datagrams

  /// What to start when the disk has room again.
  enum class Wanted : uint8_t { kNothing, kWithState, kFresh };
  Wanted wanted = Wanted::kNothing;

  Duration flap_period{};
  uint32_t flaps = 0;  ///< changes when the flapping begins or ends

  /// Takes what arrives at once.
  [[nodiscard]] bool prompt() const {
    return !paused && !blocked && input_cost == Duration::zero() && waiting.empty();
  }
};

/// Counts over the whole run.
struct WorldStatistics {
  uint64_t events = 0;  ///< steps of the world
  uint64_t timers = 0;  ///< calls of Node::advance by a timer
  uint64_t datagrams_sent = 0;
  uint64_t datagrams_delivered = 0;
  uint64_t datagrams_lost = 0;
  uint64_t datagrams_overflowed = 0;  ///< socket buffers of paused processes
  uint64_t datagram_bytes = 0;
  uint64_t stream_messages = 0;
  uint64_t stream_bytes = 0;
};

class World : private StreamHost {
 public:
  explicit World(const WorldOptions& options);
  ~World() override;
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Must outlive the world or be removed.
  void add_observer(Observer* observer);
  void set_query_handler(QueryHandler handler) { query_handler_ = std::move(handler); }

  // --- time ---
  [[nodiscard]] TimePoint now() const override { return now_; }
  /// Carries out all that is due up to and including `until`.
  void run_until(TimePoint until);
  void run_for(Duration duration) { run_until(now_ + duration); }
  /// Runs until `done` holds, looking every `step`; false when `timeout` passes first.
  bool run_while_not(const std::function<bool()>& done, Duration timeout, Duration step = 50ms);
  /// Calls `command` at `when`.
  void at(TimePoint when, std::function<void()> command);

  // --- processes ---
  /// A new host with a running process. An empty name becomes "node-<index>".
  NodeIndex add_node(std::string name = {}, std::map<std::string, std::string> tags = {});
  NodeIndex add_node(std::string name, std::map<std::string, std::string> tags,
                     const membership::Options& options);
  /// Joins through `seeds`; tried again until one of them answers.
  void join(NodeIndex node, std::vector<NodeIndex> seeds, bool replay = false);
  /// kCrash, or kHostDown for silence.
  void crash(NodeIndex node, StopKind kind = StopKind::kCrash);
  /// The same member again: same id, higher epoch, what its disk holds. While the disk is full no
  /// process starts, since none could keep its epoch: it does when there is room.
  void restart(NodeIndex node);
  /// As restart, at a new address.
  void restart_moved(NodeIndex node);
  /// A new id on an empty disk, which joins through `seeds`.
  void restart_fresh(NodeIndex node, std::vector<NodeIndex> seeds);

  // --- faults of a process and its host ---
  /// Freezes the process (SIGSTOP): inputs wait in bounded buffers, timers do not fire.
  void pause(NodeIndex node);
  void resume(NodeIndex node);
  /// Blocks the process at every send and after every receive, while its timers run (Lifeguard,
  /// arXiv 1707.00788, section V): what arrives waits in the bounded socket buffer, what it wants
  /// to send goes out when the block ends.
  void block(NodeIndex node);
  void unblock(NodeIndex node);
  /// A slow processor: each input and each timer takes `cost` (>= 0) before it has an effect.
  /// Inputs wait in bounded buffers; a timer comes after them, but at least once in 512 inputs.
  void slow_down(NodeIndex node, Duration cost);
  /// The clock of a running process gains this from now on; > -1'000'000. It starts anew with the
  /// process.
  void set_clock_skew(NodeIndex node, int64_t skew_ppm);
  /// The clock of a running process moves forward: monotonic clocks never go back.
  void jump_clock(NodeIndex node, Duration by);
  /// What the process asks to keep is refused, and it goes on without (as the daemon does).
  void fill_disk(NodeIndex node);
  void free_disk(NodeIndex node);

  // --- network faults; prefer these to network(), since observers are told ---
  void partition(const std::vector<std::vector<NodeIndex>>& groups);
  /// All zones apart.
  void partition_zones();
  /// One zone against the others.
  void partition_zone(unsigned zone);
  void heal();
  /// Changes the links by `change` (loss, cuts, ...); of one host only, if it is named.
  void change_links(const std::function<void(Network&)>& change, NodeIndex node = kNoNode);
  /// Takes the host's links down and up again, each for half a `period`; zero ends it.
  void flap(NodeIndex node, Duration period);
  /// The host's links stop one after the other and come back in another order, all within `length`.
  void clog(NodeIndex node, Duration length);
  [[nodiscard]] const Network& network() const { return network_; }

  /// Ends all faults of hosts and network, and sets the links to WorldOptions::links. What has
  /// ended stays so, unless it waits for its disk.
  void end_faults();

  /// A datagram that the process on this host knows nothing of.
  void send_raw(NodeIndex from, const Address& to, std::string bytes);

  // --- commands; the process must be usable ---
  // What only the production node knows is refused (kInvalid) by other processes.
  /// The process stops by itself when its leave is done.
  void leave(NodeIndex node);
  Result<void> force_leave(NodeIndex by, const std::string& name, bool prune = false);
  Result<void> set_tags(NodeIndex node, std::map<std::string, std::string> tags);
  Result<membership::MessageId> send_event(NodeIndex node, const std::string& name,
                                           const std::string& payload, bool coalesce = false);
  Result<membership::ConfirmHandle> confirm_event(NodeIndex node,
                                                  const membership::MessageId& event,
                                                  Duration timeout);
  Result<membership::QueryHandle> send_query(NodeIndex node, const membership::QueryOptions& query);
  void cancel_query(NodeIndex node, const membership::MessageId& query);

  // --- views ---
  [[nodiscard]] size_t size() const { return hosts_.size(); }
  [[nodiscard]] const Host& host(NodeIndex node) const { return *hosts_[node]; }
  /// The production node of a running process that has one.
  [[nodiscard]] const membership::Node& node(NodeIndex node) const;
  /// The process, which must be running.
  [[nodiscard]] const Process& process(NodeIndex node) const;
  [[nodiscard]] bool running(NodeIndex node) const { return hosts_[node]->process != nullptr; }
  /// Running, not paused or blocked, not leaving.
  [[nodiscard]] bool usable(NodeIndex node) const;
  /// All usable ones, in order.
  [[nodiscard]] std::vector<NodeIndex> usable_nodes() const;
  [[nodiscard]] const WorldOptions& options() const { return options_; }
  [[nodiscard]] const WorldStatistics& statistics() const { return statistics_; }
  [[nodiscard]] size_t open_streams(NodeIndex node) const { return streams_.open_streams(node); }
  [[nodiscard]] uint64_t trace_hash() const { return hash_.value(); }
  Random& random() { return random_; }
  /// From here on the world's chance, links included, is drawn by `seed`: copies of one world part.
  void diverge(uint64_t seed) {
    random_ = Random(mix64(seed));
    network_.diverge(seed);
  }

 private:
  /// At one instant: what arrives comes before timers (a daemon drains its sockets first).
  enum class Kind : uint8_t {
    kCommand,
    kDatagram,
    kRefused,
    kStream,
    kAnswer,
    kJoinRetry,
    kTimer,
    kSweep,
    kWork,
    kFlap,
  };
  struct Event {
    TimePoint at;
    uint64_t sequence;
    Kind kind;
    NodeIndex node;
    uint32_t handle;  ///< into the slab of its kind; for timers and sweeps the boot
    [[nodiscard]] bool after(const Event& other) const;
  };
  struct Datagram {
    Address from;
    Address to;
    std::string bytes;
  };
  struct PendingAnswer {
    uint32_t boot = 0;
    membership::MessageId query;
    membership::Answer answer;
  };

  // StreamHost
  void schedule_stream(TimePoint at, uint32_t handle) override;
  [[nodiscard]] PortState port_state(const Address& address) const override;
  [[nodiscard]] bool host_up(NodeIndex node) const override;
  [[nodiscard]] bool paused(NodeIndex node) const override;
  [[nodiscard]] Duration stream_timeout(NodeIndex node) const override;
  void deliver_stream(NodeIndex node, StreamInput input) override;

  void schedule(TimePoint at, Kind kind, NodeIndex node, uint32_t handle);
  void step(const Event& event);
  void datagram_arrives(NodeIndex node, Datagram datagram);
  void refuse(NodeIndex node, Datagram datagram);
  void refusal_arrives(NodeIndex node, const Address& peer);
  void enqueue(NodeIndex node, Host::Waiting input);
  void feed(Host& host, NodeIndex node, const Host::Waiting& input);
  /// The process may take what waits: after a pause, a block, or the work on one input.
  void wake(NodeIndex node);
  void work(NodeIndex node, uint32_t boot);
  void start_work(NodeIndex node);
  void flap_due(NodeIndex node, uint32_t flaps);
  void tell(Fault fault, NodeIndex node);
  void timer_fires(NodeIndex node, uint32_t boot);
  void answer_due(NodeIndex node, PendingAnswer answer);
  void sweep(NodeIndex node, uint32_t boot);
  void retry_join(NodeIndex node, uint32_t boot);

  [[nodiscard]] static MakeProcess production_nodes();
  void start_process(NodeIndex node, bool with_state);
  void start_fresh(NodeIndex node);
  void stop_process(NodeIndex node, StopKind kind);
  void new_identity(NodeIndex node);
  void feed_datagram(Host& host, NodeIndex node, const Address& from, std::string_view bytes);
  void feed_stream(Host& host, const StreamInput& input);
  /// After every input: carries out the actions and arms the timer.
  void settle(NodeIndex node);
  void arm(NodeIndex node);
  void carry_out(NodeIndex node, membership::Action& action);
  /// False when the action was held back or dropped, since the process is blocked.
  bool may_send(Host& host, membership::Action& action);
  void send_datagram(NodeIndex node, membership::SendDatagram& datagram);
  void query_arrived(NodeIndex node, const membership::QueryArrived& query);
  void hash_action(NodeIndex node, const membership::Action& action);
  [[nodiscard]] TimePoint local(const Host& host) const { return host.clock.to_local(now_); }

  WorldOptions options_;
  TimePoint now_ = kStart;
  Random random_;
  Network network_;
  Streams streams_;
  TraceHash hash_;
  WorldStatistics statistics_;
  std::shared_ptr<WrittenMembers> written_ = std::make_shared<WrittenMembers>();
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Observer*> observers_;
  std::vector<Observer*> sent_observers_;      ///< of them, those that want every datagram sent ...
  std::vector<Observer*> received_observers_;  ///< ... or received
  QueryHandler query_handler_;

  std::vector<Event> queue_;  ///< a heap
  uint64_t sequence_ = 0;
  Slab<Datagram> datagrams_;
  Slab<PendingAnswer> answers_;
  Slab<std::function<void()>> commands_;
  /// When one host may next tell another of a closed port: (host, peer).
  std::map<std::pair<NodeIndex, NodeIndex>, TimePoint> refusals_;
  uint64_t model_events_ = 0;  ///< sent by models of other protocols
  uint32_t clogs_ = 0;         ///< rises when all clogging is ended
};

}  // namespace starling::simulation
