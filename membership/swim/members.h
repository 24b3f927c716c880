// SPDX-License-Identifier: Apache-2.0
//
// Members: what a statement about a member means. Merges member records by SWIM's precedence
// (section 4.2), keeps suspicions and their timers, refutes what is said about this node, settles
// names, and reaps. Tells users through MemberEvent actions.
//
// Precedence for one member: the higher incarnation wins; at equal incarnation
// left > failed > suspect > alive. Only the owner raises its incarnation: each one is signed
// (swim/vouching.h), and what others say of a version that it has not signed is not believed.
//
// "Left" without the owner's signature is somebody's order to forget it (force-leave): it counts
// for who has failed here, and lets the others end so if they do fail.
//
// "Failed" heard from others is never believed at once: it counts as a confirmed suspicion, which
// leaves the member `suspicion_min` to refute here too. A liar, or one who missed the refutation,
// does no harm by it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "membership/gossip/broadcast_tree.h"
#include "membership/gossip/piggyback.h"
#include "membership/gossip/record.h"
#include "membership/swim/degraded.h"
#include "membership/swim/local_health.h"
#include "membership/swim/member_table.h"
#include "membership/swim/suspicion.h"
#include "membership/swim/vouching.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

/// First-hand evidence against a member.
struct Accusation {
  std::vector<NodeId> accusers;  ///< who could not reach it
  bool refused = false;          ///< two hosts saw the port refused
  bool self_refused = false;     ///< our ping and our stream were refused
  bool declared = false;         ///< heard as "failed"
  bool first_hand = false;       ///< this node's own, not what somebody says
};

/// How a statement came to this node.
enum class Heard : uint8_t {
  kPushed,   ///< by the broadcast tree, which sees to it that all get it
  kRode,     ///< on a probe or an ack: the tree may have missed us, and others
  kSynced,   ///< in an exchange with one member
  kJoining,  ///< the same, while this node is shown the whole list: unknown members that failed or
             ///< left are added too, and nothing of it is news to anybody else
};

class Members {
 public:
  /// A newcomer whose name another member holds is told to nobody for so long: a replaced host is
  /// found gone within that time.
  static constexpr Duration kConflictPatience = std::chrono::seconds(10);

  Members(Context& context, MemberTable& table, BroadcastTree& tree, Piggyback& piggyback,
          LocalHealth& health);

  /// Announces this node locally (member-join of itself).
  void start();

  /// Merges a statement.
  Verdict apply(const proto::MemberRecord& record, Heard how);
  /// As apply(), for a record as gossip carries it.
  Verdict apply(const proto::Record& record, Heard how);

  void accuse(const NodeId& id, Incarnation incarnation, const Accusation& accusation);
  /// This node tried in vain to reach a member for another one: should that accuse it, so do we.
  void unreached(const NodeId& id);
  /// A packet from another member has arrived: we are not deaf. True when the sender is suspected
  /// and should be told so now.
  bool heard_from(const NodeId& sender);
  /// The host at this address answered that nobody listens there.
  void refused(const Address& peer);
  /// The agent at this member's address says that it is another one.
  void refused(const NodeId& id);
  /// Time in which this node did not run does not count against others.
  void forgive(Duration stalled);
  /// Forgets members that are no longer admitted.
  void review();

  // --- commands ---
  void set_tags(std::string_view packed);
  void leave();
  Result<void> force_leave(std::string_view name, bool prune);
  [[nodiscard]] bool leaving() const { return left_; }

  // --- views ---
  [[nodiscard]] Incarnation incarnation() const { return incarnation_; }
  [[nodiscard]] proto::MemberRecord own_record() const;
  [[nodiscard]] proto::MemberRecord describe(const Entry& entry) const;
  /// What gossip should carry about a member now; none when it is unknown.
  [[nodiscard]] std::optional<proto::Record> encode(const NodeId& id) const;
  [[nodiscard]] static proto::Record encode(const proto::MemberRecord& record);
  /// That a known member is to leave: for itself, so that it refutes if it lives.
  [[nodiscard]] static proto::Record order_to_leave(const Entry& entry);
  /// What somebody who may not know a member must hear, in this order: its description, and after
  /// it the accusation if it is a suspect. Empty when it is unknown here.
  [[nodiscard]] std::vector<proto::Record> introduce(const NodeId& id) const;
  [[nodiscard]] Member view(const Entry& entry) const;
  [[nodiscard]] Member self() const;
  /// This node's own share of the fingerprint: 0 once it has left.
  [[nodiscard]] uint64_t own_fingerprint() const;
  /// Alive members, this one included.
  [[nodiscard]] size_t up_count() const { return table_.up_count() + 1; }

  [[nodiscard]] size_t suspicion_count() const { return suspicions_.size(); }
  [[nodiscard]] size_t degraded_count() const { return degraded_.count(); }
  [[nodiscard]] size_t timer_count() const {
    return suspicion_due_.size() + last_words_due_.size() + reap_due_.size() + conflict_due_.size();
  }

  [[nodiscard]] TimePoint next_deadline() const;
  void advance();

  /// Asked to probe a member out of turn (its suspicion lacks a confirmation).
  std::function<void(const NodeId&)> probe_soon;
  /// Asked to let a member hear what is said about it, so that it can refute.
  std::function<void(const NodeId&)> tell_accused;
  /// Asked to let whoever has just spoken against this node hear what it says of itself now.
  std::function<void()> answer_accuser;
  /// Asked to see whether the port of a member is refused, and to let it hear what is said of it.
  std::function<void(const NodeId&)> look;
  /// Asked to get a member's own word from whoever has just spoken about it.
  std::function<void(const NodeId&)> fetch;

 private:
  Verdict apply_alive(const proto::MemberRecord& record, const NodeId& id, Heard how);
  Verdict apply_left(const proto::MemberRecord& record, const NodeId& id, Heard how);
  Verdict apply_accusation(const proto::MemberRecord& record, const NodeId& id, Heard how);
  Verdict apply_force_leave(const proto::MemberRecord& record, const NodeId& id, Heard how);
  Verdict apply_leaving(const proto::MemberRecord& record, const NodeId& id, Heard how);
  Verdict about_self(const proto::MemberRecord& record);
  /// Whether the member that is described has signed it.
  [[nodiscard]] Vouched vouch(const Description& description);
  [[nodiscard]] static Verdict verdict_of(Vouched vouched);
  /// Before others' word about a known member: takes the member's own over if that comes with it
  /// and is newer. Anything but kFresh: what they say is not to be believed.
  Verdict own_word_first(const proto::MemberRecord& record, Entry& entry, Heard how);
  /// Makes this node's present description, signed.
  void describe_self();
  void learn_gone_member(const proto::MemberRecord& record, const NodeId& id, Status status);

  /// True when the accusation was news.
  bool add_accusation(Entry& entry, Incarnation incarnation, const Accusation& accusation);
  void arm(const NodeId& id, const Suspicion& suspicion);
  void suspicion_due(const NodeId& id);
  /// The suspect itself was heard a moment ago, and is given more time to refute.
  [[nodiscard]] bool spoke_lately(const Suspicion& suspicion) const;
  /// Has only heard that its port is refused: one liar can say that, and there would not be much
  /// time to refute it.
  [[nodiscard]] bool must_look(const Suspicion& suspicion) const;
  /// Has only heard of the suspicion, and of no declaration.
  [[nodiscard]] bool bystander(const Suspicion& suspicion) const;
  /// How long after its due time this node declares a suspect failed: in turn with the others.
  [[nodiscard]] Duration turn(const NodeId& id, const Suspicion& suspicion);
  /// Shortly before a suspect fails: lets it hear of it once more.
  void last_words(const NodeId& id);
  /// One member's word is not enough to declare another failed.
  [[nodiscard]] bool needs_confirmation() const;
  /// Whether the evidence at hand is enough to declare a suspect failed.
  [[nodiscard]] bool may_fail(const Suspicion& suspicion) const;
  /// Nothing was heard from anybody for so long that all others must be gone, or this host is.
  [[nodiscard]] bool isolated() const;
  [[nodiscard]] FailureEvidence evidence_of(const Suspicion& suspicion) const;
  void fail(Entry& entry);
  void mark_left(Entry& entry, Incarnation incarnation, bool prune);
  void clear_suspicion(Entry& entry);
  void refute(Incarnation accused);
  /// Whether there may be one now; if not, it follows.
  [[nodiscard]] bool may_refute();
  // --- names: member_names.cc ---
  void settle_name(const std::string& name);
  void begin_claim(Entry& entry, const proto::MemberRecord& record, Heard how);
  /// It has left, or is forgotten: those that it kept from their name may have it.
  void end_claim(const Entry& gone);
  /// Another one holds its name, and has to be found gone before anybody hears of it.
  [[nodiscard]] bool awaits_name(const Entry& entry);
  void conflict_due(const NodeId& id);
  /// Who else claims the name and is shown under it; null when it is this node, or nobody.
  [[nodiscard]] Entry* holder_of(const std::string& name);
  void report_conflict(const NodeId& id, const Address& at, const std::string& name);
  void hold_name(const NodeId& id);
  [[nodiscard]] bool held_lately(const NodeId& id) const;
  [[nodiscard]] bool unreached_lately(const NodeId& id) const;
  /// Two agents cannot share an address and port: is the one that was there before still there?
  void doubt_address_of(const Entry& newcomer);
  void reap(const NodeId& id);

  /// It has refuted what was said about it.
  void note_refutation(Entry& entry);
  void recovered(const NodeId& id);
  /// Heard as "failed" where that is believed at once (Guards::demotion is off).
  void believe_failed(Entry& entry, Incarnation incarnation);
  /// With the description, whatever is said about it.
  [[nodiscard]] proto::MemberRecord full_record(const Entry& entry) const;
  void announce(MemberChange change, Entry& entry, const FailureEvidence& evidence = {});
  void publish(const proto::MemberRecord& record, bool refutation = false);
  /// What is said about others: where one fails or is cut off, many often do.
  void publish_soon(const proto::MemberRecord& record);
  /// Rides along often: suspicions, failures, refutations.
  [[nodiscard]] unsigned transmissions() const;

  Context& context_;
  MemberTable& table_;
  BroadcastTree& tree_;
  Piggyback& piggyback_;
  LocalHealth& health_;

  Incarnation incarnation_;
  Vouching vouching_;
  Description own_;
  double refutations_left_;
  TimePoint refutations_at_;
  TimePoint refute_due_ = kNever;
  LamportTime own_ltime_ = 0;
  bool left_ = false;
  bool own_name_taken_ = false;
  bool own_contested_ = false;
  std::deque<std::pair<TimePoint, NodeId>> lately_;     // who has got a name, and when
  std::deque<std::pair<TimePoint, NodeId>> unreached_;  // whom we tried for others, and when
  TimePoint last_heard_;
  TimePoint alone_since_;  // the same, moved forward by time in which we did not run
  std::map<NodeId, Suspicion> suspicions_;
  Deadlines<NodeId> suspicion_due_;
  Deadlines<NodeId> last_words_due_;
  Deadlines<NodeId> reap_due_;
  Deadlines<NodeId> conflict_due_;  // of those that run: who is gone waits for no name
  Degraded degraded_;
};

}  // namespace starling::membership
