// SPDX-License-Identifier: Apache-2.0
//
// A model of HashiCorp memberlist, with what Serf puts on top of it for membership, as a process of
// the simulator: what Starling's tables are compared with. It follows the Go source rule by rule
// (each function names its model), with goroutines turned into timers. Serf's user events are there
// as gossip; that push-pulls carry the latest of them (some 30 s later, or more) is left out. So is
// what takes no part in membership: queries, encryption, compression, name conflicts' votes.
//
// Where Go's order is open, the model takes what is usual there: expired timers run before what
// waits in a socket, as Go's scheduler looks at timers first; of the messages of one packet, alive
// ones are handled first, and later ones before earlier (net.go, getNextMessage).
//
// Single-threaded. All randomness comes from the seed. Members are named by NodeIndex.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "test/simulation/models/memberlist_queue.h"
#include "test/simulation/models/memberlist_rules.h"
#include "test/simulation/models/memberlist_table.h"
#include "test/simulation/models/memberlist_wire.h"
#include "test/simulation/process.h"

namespace starling::simulation {

/// What a process sent, in bytes as memberlist would encode them, before compression.
struct MemberlistTraffic {
  uint64_t datagrams = 0;
  uint64_t datagram_bytes = 0;
  uint64_t stream_messages = 0;
  uint64_t stream_bytes = 0;
  uint64_t suspicions = 0;   ///< suspicions begun, by its own probes or heard of
  uint64_t user_events = 0;  ///< copies of user events
};

class Memberlist : public Process {
 public:
  /// A process that knows itself only. `now` is its own clock.
  Memberlist(NodeIndex self, uint16_t moves, const MemberlistOptions& options, Random random,
             TimePoint now);
  /// For a cluster that has long been up: knows hosts 0 to `count` - 1, all alive.
  void know_all(size_t count);

  void receive_datagram(TimePoint now, const Address& from, std::string_view bytes) override;
  /// Go's UDP socket is not connected: it hears nothing of it.
  void datagram_refused(TimePoint /*now*/, const Address& /*peer*/) override {}
  void stream_opened(TimePoint now, membership::StreamId stream) override;
  void stream_accepted(TimePoint now, membership::StreamId stream, const Address& from) override;
  void receive_stream(TimePoint now, membership::StreamId stream, std::string_view bytes) override;
  void stream_closed(TimePoint now, membership::StreamId stream,
                     membership::StreamEnd end) override;
  void advance(TimePoint now) override;
  [[nodiscard]] TimePoint next_deadline() const override;
  [[nodiscard]] membership::Actions take_actions() override { return std::exchange(actions_, {}); }
  /// A goroutine that sends stops there until the block ends; the others go on.
  void set_blocked(TimePoint now, bool blocked) override;
  void join(TimePoint now, const std::vector<Address>& addresses, bool replay) override;
  void leave(TimePoint now) override;
  bool send_event(TimePoint now, uint64_t sequence, size_t bytes) override;
  [[nodiscard]] size_t alive_count() const override { return alive_; }

  // --- views ---
  [[nodiscard]] const MemberlistTraffic& traffic() const { return traffic_; }
  [[nodiscard]] int health_score() const { return awareness_.score(); }
  /// None when unknown.
  [[nodiscard]] std::optional<MemberlistNode> member(NodeIndex node);
  [[nodiscard]] const Suspicion* suspicion(NodeIndex node) const;

 private:
  enum class TimerKind : uint8_t {
    kProbeTick,
    kGossipTick,
    kPushPull,
    kReconnect,
    kProbeTimeout,   ///< id: sequence
    kProbeDeadline,  ///< id: sequence
    kRelay,          ///< id: sequence
    kSuspicion,      ///< id: node
    kLeave,
  };
  struct Timer {
    TimePoint at;
    TimerKind kind;
    uint32_t id;
    bool operator<(const Timer& other) const { return at > other.at; }
  };
  /// The one probe that is under way (state.go, probeNode).
  struct Probe {
    uint32_t sequence = 0;
    MemberlistNode target;
    TimePoint deadline;
    unsigned expected_nacks = 0;
    unsigned nacks = 0;
    membership::StreamId stream = 0;
    bool contacted = false;  ///< over TCP
    bool asked = false;      ///< others, after the time-out
    bool stuck = false;      ///< at a send that does not return,
    bool late = false;       ///< the first to another member
  };
  /// A ping made for another (net.go, handleIndirectPing).
  struct Relay {
    uint32_t sequence = 0;  ///< the asker's
    Address asker;
    bool nack = false;
    TimePoint deadline;
  };
  enum class StreamUse : uint8_t { kAccepted, kPing, kPushPull, kJoin, kReconnect };
  struct Stream {
    StreamUse use = StreamUse::kAccepted;
    Address peer;
    uint64_t join = 0;
  };

  // --- memberlist.cc: packets, streams, timers ---
  void send(const Address& to, std::vector<MemberlistMessage> messages, bool with_crc);
  /// sendMsg: fills the packet with broadcasts.
  void send_with_broadcasts(const Address& to, const MemberlistMessage& message);
  void handle_direct(const MemberlistMessage& message, const Address& from);
  void handle_state(const MemberlistMessage& message);
  void handle_indirect_ping(const MemberlistMessage& message, const Address& from);
  void broadcast(const MemberlistMessage& message);
  void gossip();
  void push_pull();
  void push_pull_with(const Address& peer, StreamUse use, uint64_t join);
  void send_state(membership::StreamId stream, bool join);
  void merge_state(const std::vector<MemberlistNodeState>& states);
  void handle_user_event(const MemberlistMessage& message);
  void arm_gossip();
  /// getBroadcasts: memberlist's own, then Serf's, after `messages` in a packet of `limit` bytes.
  void add_broadcasts(size_t limit, std::vector<MemberlistMessage>* messages);
  void push_pull_ended(const Stream& stream, bool ok);
  void reconnect();
  void check_leave();
  void enter(TimePoint now) { now_ = std::max(now, now_); }
  /// Carries out what is due at `now_`.
  void run_timers();
  void fire(const Timer& timer);
  [[nodiscard]] bool stale(const Timer& timer) const;
  void schedule(TimePoint at, TimerKind kind, uint32_t id = 0);
  /// The next tick of a Go ticker: ticks that were missed are dropped.
  [[nodiscard]] TimePoint next_tick(TimePoint phase, Duration interval) const;
  [[nodiscard]] Address address(const MemberlistNode& node) const {
    return address_of(node.node, node.moves);
  }
  [[nodiscard]] uint32_t milliseconds() const;

  // --- memberlist_probe.cc ---
  void probe_tick();
  void probe();
  void probe_node(const MemberlistNode& target);
  void probe_timed_out();
  void probe_ended();
  void finish_probe(int awareness_delta);
  void unblock_probe();
  void handle_ack(const MemberlistMessage& message);

  // --- memberlist_state.cc ---
  void alive_node(const MemberlistMessage& message);
  void suspect_node(const MemberlistMessage& message);
  void dead_node(const MemberlistMessage& message);
  void suspicion_timed_out(NodeIndex node);
  void refute(MemberlistNode* me, uint32_t accused);
  void reset_nodes();
  void set_state(MemberlistNode* node, MemberlistState state);
  void notify(const MemberlistNode& node, membership::MemberChange change);

  const NodeIndex self_;
  const MemberlistOptions options_;
  Random random_;
  TimePoint now_;
  const TimePoint started_;
  MemberlistTable nodes_;
  size_t alive_ = 0;  ///< alive or suspect
  MemberlistQueue queue_;
  MemberlistQueue events_;                      ///< Serf's eventBroadcasts, by number
  std::unordered_set<NodeIndex> heard_events_;  ///< as long as the process lives
  Awareness awareness_;
  std::unordered_map<NodeIndex, Suspicion> suspicions_;
  std::set<NodeIndex> failed_;  ///< Serf's: kept after memberlist has forgotten them

  std::vector<Timer> timers_;  ///< a heap; may hold what is no longer wanted
  TimePoint probe_phase_;
  TimePoint gossip_phase_;
  bool gossip_armed_ = false;
  bool gossip_stuck_ = false;
  bool blocked_ = false;
  std::optional<Probe> probe_;
  bool probe_pending_ = false;  ///< a tick came while the last probe was under way
  size_t probe_index_ = 0;
  uint32_t sequence_ = 0;
  std::unordered_map<uint32_t, Relay> relays_;
  std::map<membership::StreamId, Stream> streams_;
  membership::StreamId last_stream_ = 0;
  uint64_t joins_ = 0;
  bool leaving_ = false;
  TimePoint leave_deadline_ = kNever;
  TimePoint leave_done_ = kNever;

  MemberlistTraffic traffic_;
  membership::Actions actions_;
  std::vector<MemberlistNode> picked_;
};

/// Hosts run the model; `known` > 0: they have long been up, and know the hosts below `known`.
MakeProcess make_memberlist(const MemberlistOptions& options, size_t known = 0);

}  // namespace starling::simulation
