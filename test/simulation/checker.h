// SPDX-License-Identifier: Apache-2.0
//
// Checker: what must hold in every run, compared against the ground truth that only the simulator
// knows. Watches a World while it runs and, asked for it, at quiescence. It never changes the
// world. docs/simulation.md lists the invariants by name.
//
// Single-threaded. Memory is 24 bytes per pair of members, and nothing per pair without
// CheckerOptions::pairs.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "test/simulation/observer.h"
#include "test/simulation/world.h"

namespace starling::simulation {

struct Violation {
  std::string invariant;
  TimePoint at;
  NodeIndex node = kNoNode;  ///< where it was seen
  std::string message;

  /// "12.345678s node-3: accuracy: ..."
  [[nodiscard]] std::string to_string() const;
};

/// All that a Violation can name.
[[nodiscard]] std::span<const std::string_view> invariant_names();

struct CheckerOptions {
  /// Whoever was disturbed less than this ago may still be taken for failed.
  Duration accuracy_window = 60s;
  /// A pause up to this long must be forgiven: it does not count as a disturbance.
  Duration tolerated_pause = 2500ms;
  /// Nor does a loss up to this much.
  double tolerated_loss = 0.2;
  /// Nor do some cut or lossy links of a member, if the others are at least this many times as
  /// many.
  unsigned tolerated_cut_factor = 8;
  /// Nor latency beyond the usual, one way.
  Duration tolerated_latency = 100ms;
  /// Nor a wire that carries this many bytes per second.
  double tolerated_bandwidth = 125e3;
  /// Nor a processor that takes this long for one input.
  Duration tolerated_input_cost = 2ms;
  /// Nor a clock that gains or loses this much.
  int64_t tolerated_skew_ppm = 60'000;
  /// Remember what each process has said of each member: without it, what docs/simulation.md marks
  /// with "pairs" is not checked.
  bool pairs = true;
  /// Datagrams that one process may send in one second, whatever the size of the cluster:
  /// base + factor * changes, where the changes are those of the 20 seconds around it (and, when it
  /// has just gone on, of the time in which it stood still: what waited is answered now), and a
  /// failure counts as the suspicion, its confirmations and the declaration that go round.
  size_t packets_per_second_base = 250;
  size_t packets_per_second_factor = 20;
  /// Suspicions of an undisturbed process end within this time, those of others, or across a
  /// partition, within more: who is alone among many waits for Options::isolated_after.
  Duration suspicion_bound = 45s;
  Duration suspicion_bound_disturbed = 680s;
  /// Looking at all that a process holds takes time: done every so often per member that there is.
  Duration look_interval_per_member = 20ms;
  /// And at its indices every so many times.
  unsigned looks_per_consistency = 10;
  /// Timers that may fire at one process, per second on average.
  size_t timers_per_second = 2000;
  /// Members crashed for this long must be shown as failed at quiescence.
  Duration detection_bound = 20s;
  /// Who joined less than this before an event may take it for an old one.
  Duration join_settling = 10s;
  size_t violations_max = 100;
};

/// What became of one query.
struct QueryOutcome {
  NodeIndex asker = kNoNode;
  uint32_t boot = 0;
  TimePoint started;
  Duration timeout{};
  size_t addressed = 0;
  std::map<std::string, unsigned> acks;      ///< by member
  std::map<std::string, std::string> final;  ///< payloads of kResponse; "" for other kinds
  std::map<std::string, membership::ReplyKind> kinds;
  std::map<std::string, std::set<std::string>> responders;  ///< that answered, by member
  std::set<std::string> finished;                           ///< members that have said their last
  bool ended = false;
  bool cancelled = false;
  bool timed_out = false;
  bool limited = false;
  TimePoint ended_at;
  std::vector<std::string> silent;
  std::map<std::string, membership::Silence> silence;  ///< why, by member
};

/// What became of one user event.
struct EventOutcome {
  struct Delivery {
    uint32_t line = 0;  ///< of the disk: starts anew without state
    uint32_t boot = 0;
    uint16_t handled = 0;
    uint16_t silent = 0;
    bool kept = false;  ///< on disk
    TimePoint first{};
  };
  NodeIndex origin = kNoNode;
  uint32_t boot = 0;
  TimePoint sent;
  std::string name;
  std::string payload;
  std::vector<uint32_t> expected;  ///< per node: the line that must have it, or 0
  std::vector<Delivery> deliveries;
};

class Checker : public Observer {
 public:
  Checker(World& world, const CheckerOptions& options);

  [[nodiscard]] const std::vector<Violation>& violations() const { return violations_; }
  /// All violations, one per line; empty when there are none.
  [[nodiscard]] std::string report() const;

  // --- at quiescence ---
  /// Every usable process agrees with every other: the fingerprints, then the views, then events.
  /// None when they do; otherwise the first difference, for people.
  [[nodiscard]] std::string disagreement() const;
  /// Runs the world until disagreement() is empty, at most `bound`: a violation of `convergence`
  /// otherwise. The time it took.
  Duration require_convergence(Duration bound);
  /// A violation of `invariant` at `node` unless `holds`: for checks that a scenario adds. The name
  /// is one of invariant_names().
  void require(bool holds, const char* invariant, NodeIndex node, const std::string& message);
  /// What must hold once all faults have ended and the members have converged.
  void check_quiescence();

  // --- what was seen ---
  [[nodiscard]] const std::map<membership::MessageId, QueryOutcome>& queries() const {
    return queries_;
  }
  [[nodiscard]] const std::map<membership::MessageId, EventOutcome>& events() const {
    return events_;
  }
  /// All addressed answered and the query ended before its deadline; otherwise what is wrong.
  [[nodiscard]] std::string query_shortcoming(const membership::MessageId& query) const;
  /// Time from sending to the last delivery so far; none while an expected one is missing.
  [[nodiscard]] std::optional<Duration> event_spread(const membership::MessageId& event) const;
  /// kFailed notices about processes that ran, disturbed or not.
  [[nodiscard]] size_t false_failures() const { return false_failures_; }
  /// The most datagrams that one process sent in one second.
  [[nodiscard]] size_t packets_per_second_max() const { return packets_per_second_max_; }
  /// Neither was disturbed within the window, nor were they apart.
  [[nodiscard]] bool undisturbed(NodeIndex a, NodeIndex b) const;

  /// The most that was used of the budget of datagrams: sent beyond the base, per change.
  [[nodiscard]] double packets_per_change_max() const { return packets_per_change_max_; }

  // Observer
  [[nodiscard]] unsigned interests() const override { return kSentDatagrams; }
  void process_started(NodeIndex node, bool with_state) override;
  void process_stopping(NodeIndex node, StopKind kind) override;
  void fault(Fault kind, NodeIndex node) override;
  void event_accepted(NodeIndex node, const membership::MessageId& id, std::string_view name,
                      std::string_view payload) override;
  void query_started(NodeIndex node, const membership::QueryHandle& query) override;
  void query_cancelled(NodeIndex node, const membership::MessageId& query) override;
  void force_left(NodeIndex by, std::string_view name) override;
  void action(NodeIndex node, const membership::Action& action) override;
  void sweep(NodeIndex node) override;

 private:
  enum class Phase : uint8_t { kUnknown, kAlive, kFailed, kLeft, kReaped };
  /// One member as last seen at one process.
  struct Seen {
    membership::Incarnation incarnation;
    membership::Incarnation gone;  ///< users were told last that it failed or left
    uint32_t suspect_ms = 0;       ///< since when, 0: it is not
    membership::Status status = membership::Status::kAlive;
    Phase phase = Phase::kUnknown;
    bool gone_left = false;  ///< ... that it left
  };
  static_assert(sizeof(Seen) <= 24);
  /// What is known about one process and its disk.
  struct Watched {
    uint32_t boot = 0;
    uint32_t line = 0;       ///< rises with every start without state; from 1
    std::vector<Seen> seen;  ///< by number of the identity
    /// Line of the disk, or 0 when it could not be kept, and process.
    std::map<membership::MessageId, std::pair<uint32_t, uint32_t>> queries_heard;
    membership::Clocks clocks;
    membership::LamportTime event_ltime = 0;  ///< highest of events heard
    /// The last event of each origin and epoch that was delivered or missed.
    std::map<std::pair<membership::NodeId, uint32_t>, uint64_t> event_lines;
    bool events_lost = false;                ///< some were delivered while the disk was full
    TimePoint disturbed = TimePoint::min();  ///< last moment; kNever while it lasts
    TimePoint stalled_at = kNever;           ///< paused or blocked
    TimePoint resumed_at = TimePoint::min();
    TimePoint stood_from = kNever;              ///< when it last stood still, until resumed_at
    TimePoint disk_free_at = TimePoint::min();  ///< since then all is kept
    TimePoint stopped_at = kNever;
    StopKind stopped = StopKind::kCrash;
    bool impaired = false;  ///< by its links, processor or clock
    int64_t second = 0;     ///< of the packet count
    size_t packets = 0;
    TimePoint looked = TimePoint::min();  ///< all its members were looked at
    unsigned looks = 0;
    membership::Incarnation own;  ///< when last looked at
    // The member whose next probe is waited for, since when, and what it may take.
    NodeIndex probed = kNoNode;
    TimePoint probed_since;
    size_t probed_among = 0;
    unsigned probed_health = 0;
  };
  /// One identity: a host has several over time.
  struct Owner {
    NodeIndex node = kNoNode;
    membership::Incarnation highest;
    /// Highest that anybody has announced as alive, failed, left.
    std::array<membership::Incarnation, 3> announced;
  };
  /// A process sent more than the base within a second.
  struct Burst {
    int64_t second;
    int64_t since;  ///< from here on changes may explain it
    NodeIndex node;
    size_t packets;
  };
  struct Partition {
    TimePoint end = kNever;
    std::vector<uint32_t> groups;  ///< by node
  };

  template <typename... Parts>
  void violate(const char* invariant, NodeIndex node, const Parts&... parts);

  void member_event(NodeIndex node, const membership::MemberEvent& event);
  void check_failed(NodeIndex node, const membership::MemberEvent& event, const Seen& seen);
  void check_left(NodeIndex node, const membership::Member& member);
  void check_evidence(NodeIndex node, const membership::MemberEvent& event);
  [[nodiscard]] bool lives_on(const membership::Member& member, const Seen& seen) const;
  void check_order(NodeIndex node, const membership::MemberEvent& event, Seen& seen);
  void witness(NodeIndex node, const membership::MemberState& member, Seen& seen);
  void check_owner(NodeIndex node, const membership::MemberState& member, Owner& owner);
  void check_suspect(NodeIndex node, const membership::MemberState& member, Seen& seen);
  void check_self(NodeIndex node);
  void check_bounds(NodeIndex node);
  void look_at_members(NodeIndex node);
  void check_names(NodeIndex node);
  void check_probes(NodeIndex node);
  void await_probe(NodeIndex node);
  /// The first to announce a member's incarnation as alive (0), failed (1) or left (2).
  void count_change(Owner& owner, size_t kind, membership::Incarnation incarnation);
  void changed(size_t changes);
  /// The first second whose changes may be the reason for what a process sends in this one.
  [[nodiscard]] static int64_t reasons_from(const Watched& process, int64_t second);
  void settle_bursts(bool all);
  void user_event(NodeIndex node, const membership::UserEventArrived& event);
  void check_event_order(NodeIndex node, const membership::MessageId& id);
  void events_missed(NodeIndex node, const membership::EventsMissed& missed);
  void query_arrived(NodeIndex node, const membership::QueryArrived& query);
  void query_answered(NodeIndex node, const membership::QueryAnswered& answer);
  void query_ended(NodeIndex node, const membership::QueryEnded& ended);
  void datagram(NodeIndex node, const membership::SendDatagram& datagram);
  void check_event(const membership::MessageId& id, const EventOutcome& event);
  void check_query(const membership::MessageId& id, const QueryOutcome& query);
  void check_timers(NodeIndex node);
  [[nodiscard]] std::string compare_views(NodeIndex a) const;
  [[nodiscard]] std::string name(NodeIndex node) const;
  [[nodiscard]] bool running_member(const membership::NodeId& id, NodeIndex* node) const;
  /// Number of the identity; none for one that never existed.
  [[nodiscard]] std::optional<uint32_t> number_of(const membership::NodeId& id) const;
  Owner& owner_of(NodeIndex node);
  Seen& seen_at(NodeIndex node, uint32_t number);
  /// All usable ones, or a sample of them when there are many.
  [[nodiscard]] std::vector<NodeIndex> compared_nodes() const;
  void update_impaired(NodeIndex node);
  [[nodiscard]] bool bad_links(NodeIndex node) const;
  /// What this process is told to keep is not kept.
  [[nodiscard]] bool disk_full(NodeIndex node) const { return world_.host(node).disk_full; }
  void end_partition();
  Watched& watched(NodeIndex node);
  [[nodiscard]] bool disturbed(NodeIndex node) const;
  /// On two sides of a partition, within the window.
  [[nodiscard]] bool apart(NodeIndex a, NodeIndex b) const;

  World& world_;
  CheckerOptions options_;
  std::vector<Violation> violations_;
  std::vector<Watched> watched_;
  std::unordered_map<membership::NodeId, uint32_t> numbers_;
  std::vector<Owner> owners_;
  Random random_;
  std::set<std::string, std::less<>> force_left_;
  std::map<membership::MessageId, EventOutcome> events_;
  std::map<membership::MessageId, QueryOutcome> queries_;
  std::vector<Partition> partitions_;
  TimePoint timers_from_ = kStart;
  uint64_t timers_seen_ = 0;
  size_t false_failures_ = 0;
  size_t packets_per_second_max_ = 0;
  double packets_per_change_max_ = 0;
  std::vector<uint32_t> changes_;  ///< by second
  std::vector<Burst> bursts_;
};

}  // namespace starling::simulation
