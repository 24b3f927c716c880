// SPDX-License-Identifier: Apache-2.0
//
// Node: the protocol as a pure state machine, and the only door to it. It does no I/O and reads no
// clock: it is told what happened and what time it is, and answers with actions (action.h).
//
//   node.receive_datagram(now, from, bytes);      // something happened
//   for (Action& a : node.take_actions()) ...     // carry out what it asks for
//   timer.expires_at(node.next_deadline());       // one timer serves everything inside
//   ... node.advance(now);                        // when it fires
//
// Call take_actions() and re-arm the timer after every input. `now` must never go back. Before
// advance(), feed all datagrams that are already waiting: an answer that has arrived counts.
//
// Single-threaded: no call may overlap another.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "membership/action.h"
#include "membership/address.h"
#include "membership/coordinate.h"
#include "membership/ids.h"
#include "membership/member.h"
#include "membership/options.h"
#include "membership/random.h"
#include "membership/route.h"
#include "membership/signatures.h"
#include "membership/time.h"
#include "proto/support/result.h"

namespace starling::membership {

/// Who this node is.
struct Identity {
  NodeId id;
  /// Boot epoch: greater at every start of the same id. Unix seconds, or one more than the last.
  uint32_t epoch = 1;
  std::string name;  ///< 1..kMaxName bytes
  Address address;   ///< where others reach it
  std::map<std::string, std::string> tags;
  /// What it signs with; `id` belongs to its public key. Not null.
  std::shared_ptr<const NodeKeys> keys = {};
};

/// What an earlier process of this node left behind (see action.h, "what to keep").
struct Restored {
  struct KnownMember {
    NodeId id;
    std::string name;
    Address address;
    bool lost = false;  ///< failed, and not seen again for long: tried ever more rarely
  };
  struct KeptEvent {
    MessageId id;
    std::string record;  ///< UserEventArrived::record
    Duration age{};      ///< since it was sent: UserEventArrived::age and what has passed since
  };
  /// Members to find the cluster through again. They are tried, not believed.
  std::vector<KnownMember> members;
  std::vector<KeptEvent> events;
  std::vector<SaveProgress> progress;
  std::vector<MessageId> queries;  ///< heard lately: not to be answered again
  std::vector<KnownCoordinate> coordinates;
  LamportTime member_ltime = 0;
  LamportTime event_ltime = 0;
  LamportTime query_ltime = 0;
};

/// What a node holds about another member, in short.
struct MemberState {
  NodeId id;
  Incarnation incarnation;
  Status status = Status::kAlive;
};

/// What members() lists, this node included; the rest of `all` is up.
struct MemberCounts {
  size_t all = 0;
  size_t failed = 0;
  size_t left = 0;
  size_t degraded = 0;
};

struct Clocks {
  LamportTime member = 0;
  LamportTime event = 0;
  LamportTime query = 0;
  auto operator<=>(const Clocks&) const = default;
};

/// Counts since the start; monotonic. Each drop is counted by its reason.
struct Statistics {
  uint64_t packets_received = 0;
  uint64_t packets_sent = 0;
  uint64_t bytes_received = 0;
  uint64_t bytes_sent = 0;
  uint64_t malformed_packets = 0;
  uint64_t malformed_streams = 0;
  uint64_t probes = 0;
  uint64_t probes_failed = 0;
  uint64_t suspicions = 0;
  uint64_t failures = 0;
  uint64_t refutations = 0;
  uint64_t pushes_sent = 0;
  uint64_t push_retries = 0;
  uint64_t pushes_abandoned = 0;
  uint64_t syncs = 0;
  uint64_t full_transfers = 0;  ///< all members sent at once, to who knew none
  uint64_t events_accepted = 0;
  uint64_t events_missed = 0;     ///< known to have existed, no longer held by anybody asked
  uint64_t payloads_fetched = 0;  ///< of large events, over streams
  uint64_t payloads_served = 0;
  uint64_t payloads_passed = 0;       ///< asked for here and left to others that have them
  uint64_t dropped_fetches = 0;       ///< over kMaxFetches: left to anti-entropy
  uint64_t dropped_beyond = 0;        ///< over kMaxBeyond or kMaxBeyondBytes: fetched again later
  uint64_t dropped_members = 0;       ///< over kMaxMembers
  uint64_t forged_records = 0;        ///< of members, not signed by the one whose word it is
  uint64_t forged_events = 0;         ///< user events not signed by their origin
  uint64_t forged_queries = 0;        ///< queries, and words that one is over
  uint64_t forged_answers = 0;        ///< to queries of this node, not signed by who answers
  uint64_t unverified_records = 0;    ///< of sources that had sent too many of any of those
  uint64_t unproven_records = 0;      ///< about versions that the member is not known to have had
  uint64_t late_refutations = 0;      ///< put off, since there had been too many
  uint64_t member_conflicts = 0;      ///< members that claim another one's name
  uint64_t unadmitted_packets = 0;    ///< and streams, of nodes that set_admission() refuses
  uint64_t unadmitted_records = 0;    ///< of such nodes, told by others
  uint64_t dropped_lost = 0;          ///< members looked for no more, over kMaxMissing
  uint64_t dropped_progress = 0;      ///< over kMaxProgress
  uint64_t dropped_answers = 0;       ///< a second member's of a name, or over Queries::kMaxUnasked
  uint64_t dropped_queries = 0;       ///< forgotten early, over kMaxSeenQueries
  uint64_t dropped_hops = 0;          ///< over kMaxPendingHops: sent once, not repeated
  uint64_t dropped_push_retries = 0;  ///< not repeated, since repeating did not help lately
  uint64_t dropped_batched = 0;       ///< over kMaxBatched: left to anti-entropy
  uint64_t dropped_direct = 0;        ///< over kMaxDirect or kMaxDirectBytes
  uint64_t expired_direct = 0;        ///< not acknowledged by the deadline of its query
  uint64_t uncarried_direct = 0;      ///< for others: over kMaxDirect, or to an unknown member
  uint64_t refused_streams = 0;       ///< over kMaxStreams
  uint64_t dropped_routes = 0;        ///< over kMaxRoutes: not shown by `reachability`
  uint64_t dropped_relays = 0;        ///< indirect probes for others, over 1024 at once
  uint64_t dropped_ids = 0;           ///< announcements and pulls, over 8192: left to anti-entropy
  uint64_t rejected_coordinates = 0;  ///< not believed, or over kMaxMembers
  uint64_t coordinate_resets = 0;     ///< of our own, which had become impossible
  uint64_t abandoned_pulls = 0;       ///< announced, but no holder sent it: left to anti-entropy
  // Packets for which there was no room in the queue of their class, over kMaxOutboundBytes.
  uint64_t dropped_probe_packets = 0;
  uint64_t dropped_refutation_packets = 0;
  uint64_t dropped_member_packets = 0;
  uint64_t dropped_query_packets = 0;
  uint64_t dropped_event_packets = 0;
  uint64_t dropped_bulk = 0;  ///< pieces of bulk, over kMaxBulkBytes: fetched from others, or later
  // Refused to users of this agent, who were told why.
  uint64_t refused_events_rate = 0;
  uint64_t refused_events_size = 0;
  uint64_t refused_queries_rate = 0;
  uint64_t refused_queries_size = 0;
  uint64_t refused_queries_running = 0;  ///< over kMaxOwnQueries
  uint64_t refused_answers_size = 0;     ///< over query_response_size_limit; the asker is told
};

/// Which of the members that run are asked.
enum class Audience : uint8_t {
  kAlive,     ///< all of them
  kHealthy,   ///< those that are not degraded
  kDegraded,  ///< those that are
};

/// What to ask of whom. Filters are conjunctive; an empty filter matches everyone.
struct QueryOptions {
  std::string name;
  std::string payload;
  /// Names, or patterns in which `*` stands for any text and `?` for one character.
  std::vector<std::string> nodes;
  Audience audience = Audience::kAlive;
  std::vector<std::pair<std::string, std::string>> tags;  ///< key, unanchored regular expression
  bool request_ack = true;
  unsigned relay_factor = 0;
  /// End after this many responses, and tell the others to stop; 0: wait for all.
  unsigned limit = 0;
  std::optional<Duration> timeout;  ///< none: Options::query_timeout of the cluster's size
  std::string authorization = {};   ///< for those who are asked; the core does not look into it
};

struct QueryHandle {
  MessageId id;
  size_t addressed;  ///< live members that match, this one included
  Duration timeout;
};

/// An event that this node holds for others.
struct HeldEvent {
  MessageId id;
  std::string origin;  ///< name of the member that sent it, or its id when unknown
  LamportTime ltime = 0;
  std::string name;
  size_t size = 0;  ///< of the payload, bytes
  bool coalesce = false;
  Duration age{};  ///< since it was sent
  EventTiming timing = EventTiming::kLive;
  size_t reach = 0;  ///< live members known to have it, this one included
};

struct ConfirmHandle {
  MessageId id;
  size_t members;  ///< live members, this one included
};

/// One answer to a query that reached this node. See QueryAnswered.
struct Answer {
  ReplyKind kind = ReplyKind::kResponse;
  std::string payload;
  std::string error;  ///< for kFailed, kTooLarge, kBusy, kRefused
  std::string responder = {};
  unsigned position = 0;
  std::optional<int> exit_status = {};
  bool last = true;  ///< false: this member will answer again
};

enum class StreamEnd : uint8_t {
  kClosed,       ///< by the other side, or broken
  kRefused,      ///< the host answered: nobody listens there
  kUnreachable,  ///< no answer, or no route
  kProtocol,     ///< could not be opened or parsed: another key, another protocol
};

/// How much a node holds at present, for metrics and for checks of its bounds.
struct Sizes {
  size_t members = 0;  ///< of any status, this one included; <= kMaxMembers
  size_t failed = 0;
  size_t suspicions = 0;
  size_t degraded = 0;
  size_t member_timers = 0;  ///< at most three per member
  size_t probes = 0;         ///< own, unanswered
  size_t relays = 0;         ///< for others; <= 1024
  size_t piggybacked = 0;    ///< <= members
  size_t hops = 0;           ///< unacknowledged; <= kMaxPendingHops
  size_t gathered = 0;       ///< <= kMaxBatched
  size_t streams = 0;        ///< <= kMaxStreams
  size_t events = 0;         ///< <= Options::event_retention_count
  size_t event_bytes = 0;    ///< <= Options::event_retention_bytes, if there is more than one
  size_t beyond = 0;         ///< events that wait for those before them
  size_t beyond_bytes = 0;   ///< <= kMaxBeyondBytes
  size_t coordinates = 0;    ///< of others; <= kMaxMembers
  size_t fetches = 0;        ///< payloads to be fetched; <= kMaxFetches
  size_t outbound_bytes =
      0;  ///< of packets that wait; <= kMaxOutboundBytes of each class, bulk kMaxBulkBytes
};

/// Who may be a member, by node id and name; the name is empty where it is not known.
using Admission = std::function<bool(const NodeId& id, std::string_view name)>;

class DescriptionPool;

class Node {
 public:
  /// `options` must be valid (Options::validate); `identity` too (see validate_identity).
  /// Nodes of one process may share `descriptions` (swim/description.h): the simulator's do.
  Node(const Options& options, Identity identity, Random random, TimePoint now,
       Restored restored = {}, std::shared_ptr<DescriptionPool> descriptions = nullptr);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Checks name, address and size of the tags.
  static Result<void> validate_identity(const Identity& identity);

  // --- inputs from the network ---
  /// One opened (unsealed) packet. Anything malformed is counted and changes nothing.
  void receive_datagram(TimePoint now, const Address& from, std::string_view bytes);
  /// The host of `peer` answered that nobody listens on the port (ICMP port unreachable).
  void datagram_refused(TimePoint now, const Address& peer);
  void stream_opened(TimePoint now, StreamId stream);
  /// `stream` >= kFirstAcceptedStream, never used before.
  void stream_accepted(TimePoint now, StreamId stream, const Address& from);
  void receive_stream(TimePoint now, StreamId stream, std::string_view bytes);
  void stream_closed(TimePoint now, StreamId stream, StreamEnd end);

  // --- time ---
  /// Does all that is due at `now`. Being called late is noticed and not held against others.
  void advance(TimePoint now);
  [[nodiscard]] TimePoint next_deadline() const;
  /// What to carry out, in order. Empties the list.
  [[nodiscard]] Actions take_actions();
  /// Gives actions back that have been carried out, so that their memory serves the next ones. Who
  /// does not call it loses nothing but time.
  void reuse(Actions carried_out);

  // --- commands ---
  /// Contacts each address and exchanges state with it; a JoinTried follows for each. With
  /// `replay`, events from before a first join are delivered too (EventTiming::kBeforeJoin);
  /// without, they are skipped. Who has been a member always gets what it missed.
  uint64_t join(TimePoint now, const std::vector<Address>& addresses, bool replay);
  /// Tells the others; LeaveDone follows within Options::leave_timeout. Idempotent.
  void leave(TimePoint now);
  /// Marks a failed member as left. An alive one refutes. kNotFound for an unknown name.
  Result<void> force_leave(TimePoint now, std::string_view name, bool prune);
  /// Replaces the tags and tells the others. kTooLarge over kMaxTags.
  Result<void> set_tags(TimePoint now, std::map<std::string, std::string> tags);
  /// Accepts an event: it has been delivered locally (UserEventArrived) and is on its way.
  /// kTooLarge (Options::user_event_size_limit), kInvalid (empty or too long name), kBusy (over the
  /// rate, or more are waiting to be sent than may: try again). `authorization` travels with it
  /// (UserEventArrived::record), up to kMaxAuthorization bytes; the core does not look into it.
  Result<MessageId> send_event(TimePoint now, std::string_view name, std::string_view payload,
                               bool coalesce, std::string_view authorization = {});
  /// Asks all live members whether they have this event. EventConfirmed follows for each that has,
  /// as soon as it does, this one included, and ConfirmEnded at the end. kNotFound when this node
  /// does not have it, kInvalid (timeout), kBusy (kMaxOwnQueries running).
  Result<ConfirmHandle> confirm_event(TimePoint now, const MessageId& event, Duration timeout);
  /// Ends it early; no ConfirmEnded follows.
  void cancel_confirm(TimePoint now, const MessageId& confirm);
  /// QueryAnswered and, at the end, QueryEnded follow. kTooLarge, kInvalid (name, expression),
  /// kBusy (kMaxOwnQueries running, or over the rate).
  Result<QueryHandle> send_query(TimePoint now, const QueryOptions& query);
  /// Ends an own query early and tells those that have not answered; no QueryEnded follows.
  void cancel_query(TimePoint now, const MessageId& query);
  /// Answers a query that arrived (QueryArrived). kNotFound when unknown, over, answered with
  /// `last` or past its deadline; kTooLarge over query_response_size_limit (the asker is told);
  /// kBusy when too much waits to be sent (the asker is told) or after kMaxAnswers.
  Result<void> answer_query(TimePoint now, const MessageId& query, Answer answer);

  /// Takes event_rate, event_burst, event_byte_rate, query_rate and query_burst from `options`.
  void set_rates(TimePoint now, const Options& options);

  /// From now on only those are heard, and taken for members, that `admitted` accepts; an empty one
  /// accepts everybody. Called often, and must not call the node. Reviews the members at once.
  void set_admission(TimePoint now, Admission admitted);
  /// What the predicate answers has changed: members that it no longer accepts are forgotten
  /// (MemberEvents kLeave and kReap). O(members).
  void review_members(TimePoint now);

  // --- views ---
  [[nodiscard]] const Identity& identity() const;
  [[nodiscard]] const Options& options() const;
  /// This node as the others see it.
  [[nodiscard]] Member self() const;
  /// All members, this one included, in order of name. O(n log n).
  [[nodiscard]] std::vector<Member> members() const;
  [[nodiscard]] std::optional<Member> member(std::string_view name) const;
  /// Every other member, of any status, in no particular order; much cheaper than members().
  void visit_members(const std::function<void(const MemberState&)>& visit) const;
  /// O(n), and much cheaper than members().
  [[nodiscard]] MemberCounts member_counts() const;
  /// Members believed to run (alive or suspect), this one included. O(1).
  [[nodiscard]] size_t up_count() const;
  /// Smoothed round trip to a member; none when never measured.
  [[nodiscard]] std::optional<Duration> round_trip(const NodeId& id) const;
  /// Where a member is in the network, this one included; none for who has not told, and when there
  /// are to be no coordinates.
  [[nodiscard]] std::optional<Coordinate> coordinate(std::string_view name) const;
  /// Coordinates that have changed since the last call, to be kept for the next process.
  [[nodiscard]] std::vector<KnownCoordinate> take_coordinates();
  /// Ways on which something went wrong lately, in no particular order; at most kMaxRoutes. A
  /// member that is not among them was reached directly if probed() says that it was probed.
  [[nodiscard]] std::vector<Route> routes() const;
  /// Whether a datagram of this member has ever answered a probe of ours.
  [[nodiscard]] bool probed(const NodeId& id) const;
  [[nodiscard]] Clocks clocks() const;
  /// 0 (healthy) .. local_health_max - 1.
  [[nodiscard]] unsigned local_health() const;
  [[nodiscard]] const Statistics& statistics() const;
  /// Equal at two nodes that agree on every member and every event.
  [[nodiscard]] uint64_t member_fingerprint() const;
  [[nodiscard]] uint64_t event_fingerprint() const;
  /// Events held for others.
  [[nodiscard]] size_t events_held() const;
  /// The last `limit` of them, latest first. O(limit * members).
  [[nodiscard]] std::vector<HeldEvent> held_events(size_t limit) const;
  /// The payload of one; none when it is not held.
  [[nodiscard]] std::optional<std::string> event_payload(const MessageId& id) const;
  [[nodiscard]] bool leaving() const;
  [[nodiscard]] Sizes sizes() const;
  /// Indices and fingerprints are as their entries say. O(n log n); for tests.
  [[nodiscard]] bool consistent() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace starling::membership
