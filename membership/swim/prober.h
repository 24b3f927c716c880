// SPDX-License-Identifier: Apache-2.0
//
// Prober: finds out who does not answer (SWIM section 3, Lifeguard section IV.A).
//
//   t = 0      ping the target
//   t = RTO    no ack: ask helpers to ping it, ping it again, and try a stream, all at once
//   ...        any ack, on whatever way, ends the probe well
//   deadline   no ack: the target is accused, with the helpers' nacks as confirmations
//
// RTO follows the measured round trip. A host that refuses our port is asked about at once.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/outbox.h"
#include "membership/streams.h"
#include "membership/swim/coordinates.h"
#include "membership/swim/local_health.h"
#include "membership/swim/member_table.h"
#include "membership/swim/members.h"
#include "membership/swim/routes.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

class Prober {
 public:
  Prober(Context& context, MemberTable& table, Members& members, Outbox& outbox, Streams& streams,
         LocalHealth& health, Routes& routes, Coordinates& coordinates);

  void receive_ping(const Address& from, const proto::Ping& ping);
  void receive_ping_request(const Address& from, const proto::PingRequest& request);
  void receive_ack(const NodeId& sender, const proto::Ack& ack);
  void receive_nack(const Address& from, const NodeId& sender, const proto::Nack& nack);
  /// The host at this address refused our packet.
  void refused(const Address& peer);
  void stream_opened(StreamId stream);
  void stream_ack(const proto::Ack& ack);
  void stream_closed(StreamId stream, StreamEnd end);

  /// Probe this member out of turn.
  void probe_soon(const NodeId& id);
  /// Let a member hear what is believed about it.
  void tell(const NodeId& id);
  /// Lets a member hear what is said about it, and sees whether its port is refused.
  void look(const NodeId& id);
  /// We did not run for this long: running probes get that much more time.
  void forgive(Duration stalled) {
    due_.shift(stalled);
    extend_deadlines(stalled);
  }
  void stop() { stopped_ = true; }

  /// A member has answered a ping after `took`, or, when it was pinged more than once
  /// (`at_least`), after that or longer. Never more than round_trip_max. Optional.
  std::function<void(const Entry&, Duration took, bool at_least)> learn_round_trip;

  [[nodiscard]] size_t running() const { return probes_.size(); }
  [[nodiscard]] size_t relaying() const { return relays_.size(); }

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

 private:
  struct Helper {
    NodeId id;
    Address address;
    bool refused = false;  // its own host refuses us: it is gone as well
  };
  struct Probe {
    NodeId target;
    Address address;
    Incarnation incarnation;
    TimePoint sent;
    TimePoint sent_again;  // the last ping
    TimePoint deadline;
    Duration round_trip;  // RTO
    bool escalated = false;
    unsigned repeats_left = 0;
    size_t helpers = 0;
    std::vector<Helper> asked;
    std::set<NodeId> nacks;
    std::set<NodeId> refusals;  // helpers whose ping was refused
    bool doubted = false;       // did not answer as a helper: alive, it says that we are slow
    bool refused = false;
    bool stream_refused = false;
    bool other = false;  // another agent answered there
    bool stream_done = true;
    StreamId stream = 0;
  };
  // A ping that this node sends for somebody else.
  struct Relay {
    Address origin;
    uint32_t origin_sequence;
    NodeId target;
    Address address;
    TimePoint nack_at;
    bool repeated = false;
  };

  /// The agent at an address is not the one that was asked for.
  void other_agent(const Address& from, const proto::Nack& nack);
  void begin(Entry& target, bool doubted = false);
  void step(uint32_t sequence);
  void escalate(uint32_t sequence, Probe& probe);
  void ping(const Address& to, const NodeId& target, uint32_t sequence);
  void succeed(uint32_t sequence);
  void check_stream(const Entry& target);
  void conclude(uint32_t sequence);
  /// Probes it soon, to see whether it or we are at fault. False: no room for that.
  bool doubt(const NodeId& id);
  void judge_helpers(const Probe& probe);
  void conclude_if_refused(uint32_t sequence);
  void relay_step(uint32_t sequence);
  void relay_nack(uint32_t sequence, bool refused);
  void try_failed_member();
  void measure(Entry& entry, Duration sample);
  void extend_deadlines(Duration by);
  [[nodiscard]] Duration round_trip_bound(const Entry& entry) const;
  [[nodiscard]] bool probing(const NodeId& id) const;

  Context& context_;
  MemberTable& table_;
  Members& members_;
  Outbox& outbox_;
  Streams& streams_;
  LocalHealth& health_;
  Routes& routes_;
  Coordinates& coordinates_;

  bool stopped_ = false;
  uint32_t next_sequence_ = 1;
  TimePoint next_probe_;
  std::deque<NodeId> soon_;
  std::set<NodeId> doubted_;  // of soon_
  std::map<uint32_t, Probe> probes_;
  std::map<uint32_t, Probe>::node_type spare_probe_;  // the place of the last that was answered
  proto::Ping ping_;                                  // what is sent most; their memory is kept
  proto::Ack ack_;
  std::map<StreamId, uint32_t> stream_probes_;
  std::map<StreamId, Address> stream_looks_;
  std::set<StreamId> stream_checks_;  // opened only to see whether they open
  Deadlines<uint32_t> due_;
  std::map<uint32_t, Relay> relays_;
  Deadlines<uint32_t> relay_due_;
};

}  // namespace starling::membership
