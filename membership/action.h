// SPDX-License-Identifier: Apache-2.0
//
// What a Node asks for. The driver carries the actions out in order; none of them waits for
// another. Every byte string is owned by the action.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "membership/ids.h"
#include "membership/member.h"
#include "membership/time.h"

namespace starling::membership {

/// A stream as the node knows it. Ids below kFirstAcceptedStream are chosen by the node (streams
/// that it opens), those from it on by the driver (streams that others opened).
using StreamId = uint64_t;
inline constexpr StreamId kFirstAcceptedStream = StreamId{1} << 63;

// --- network ---

/// Send one datagram; `bytes` is a serialised proto::Packet of at most kMaxPacket bytes.
struct SendDatagram {
  Address to;
  std::string bytes;
};
/// Connect to `to`. The driver answers with Node::stream_opened or Node::stream_closed, at the
/// latest after `timeout`.
struct OpenStream {
  StreamId stream;
  Address to;
  Duration timeout;
  /// Only to see whether the port can be connected to: nothing will be sent, and the driver may
  /// save the handshake and end the connection as soon as it has said that it is there.
  bool connect_only = false;
};
/// Send one message (a serialised proto::StreamMessage) on an open stream.
struct SendStream {
  StreamId stream;
  std::string bytes;
};
/// Close after what was sent has gone out. The driver does not report this closing.
struct CloseStream {
  StreamId stream;
};

// --- what happened, for handlers and users ---

enum class MemberChange : uint8_t { kJoin, kLeave, kFailed, kUpdate, kReap };

/// "member-join", "member-leave", "member-failed", "member-update", "member-reap".
[[nodiscard]] std::string_view member_change_name(MemberChange change);

/// On what a member was declared failed.
struct FailureEvidence {
  /// When this node began to suspect it; moved forward by time in which it was stalled or deaf.
  TimePoint suspected;
  unsigned confirmations = 0;  ///< distinct accusers beside the first
  bool refused = false;        ///< its host refused the port
  bool declared = false;       ///< others had declared it before
  bool isolated = false;       ///< nothing was heard from anybody for very long
};

struct MemberEvent {
  MemberChange change;
  Member member;
  FailureEvidence evidence{};  ///< of kFailed
};

/// When an event happened, as seen from this node.
enum class EventTiming : uint8_t {
  kLive,        ///< now
  kMissed,      ///< while this node was away (stopped, paused, cut off) or out of reach of it
  kBeforeJoin,  ///< before this node first joined: with Node::join(.., replay)
};

/// "live", "missed", "before-join".
[[nodiscard]] std::string_view event_timing_name(EventTiming timing);

/// A user event, once per process and, when progress is restored, once for ever. Those of one
/// origin and epoch come in the order of their sequence numbers; what lies between two of them was
/// named by an EventsMissed before, or skipped at the first join.
struct UserEventArrived {
  MessageId id;
  LamportTime ltime;
  std::string name;
  std::string payload;
  bool coalesce;
  EventTiming timing;       ///< what handlers do about events that were missed is their policy
  std::string record;       ///< the encoded event, to be kept and handed back in Restored
  Duration age{};           ///< since it was sent, by the clocks of those that kept it for us
  std::string origin = {};  ///< name of the member that sent it, or its id when unknown
};

/// Events of one origin that this node will never have: nobody that it could ask holds them any
/// more. Comes before the UserEventArrived of later ones.
struct EventsMissed {
  NodeId origin;
  uint32_t epoch;
  uint64_t first;
  uint64_t last;            ///< >= first
  std::string origin_name;  ///< or its id when unknown
};

/// Answers to Node::confirm_event: a live member has the event.
struct EventConfirmed {
  MessageId confirm;  ///< as returned by Node::confirm_event
  MessageId event;
  std::string member;
};
/// The end of Node::confirm_event: all live members have the event, or time is up.
struct ConfirmEnded {
  MessageId confirm;
  MessageId event;
  bool timed_out;
  std::vector<std::string> missing;  ///< names of live members that are not known to have it
};

/// A query that this member is asked to answer: with Node::answer_query, exactly once, before
/// `deadline`.
struct QueryArrived {
  MessageId id;
  LamportTime ltime;
  std::string name;
  std::string payload;
  std::string source;  ///< name of the asking member, or its id when unknown
  TimePoint deadline;
  std::string record = {};  ///< the encoded proto::Query
};

/// The asker of this query wants no more answers: what has not begun for it need not begin.
struct QueryOver {
  MessageId id;
};

enum class ReplyKind : uint8_t {
  kAck,        ///< heard; more follows
  kResponse,   ///< a handler's answer
  kNoAnswer,   ///< the handlers printed nothing
  kNoHandler,  ///< nobody there handles it
  kFailed,     ///< `error` says how, `payload` is the end of what the handler printed
  kTooLarge,   ///< `error` names the size and the limit
  kBusy,       ///< `error` says with what
  kRefused,    ///< not done for who asks: `error` says why
};

/// An answer to our own query. A member whose handlers all answer gives several.
struct QueryAnswered {
  MessageId id;
  std::string from;  ///< member name
  ReplyKind kind;
  std::string payload;
  std::string error;
  std::string responder;           ///< which handler; empty when the member has only one for it
  unsigned position = 0;           ///< of that handler in the member's configuration
  std::optional<int> exit_status;  ///< of kFailed, when the handler ended with one
  bool last = false;               ///< this member has nothing more to say
};

/// Why a member is not among those that answered.
enum class Silence : uint8_t {
  kUnheard,     ///< the deadline came, and nothing had been heard from it
  kUnfinished,  ///< the deadline came after its acknowledgement
  kFailed,      ///< it failed before it had answered, or had failed before it could be asked
  kLeft,        ///< the same of leaving
  kUnknown,     ///< asked for by name, and nobody has this name
  kNotAwaited,  ///< enough others had answered (QueryOptions::limit)
};
/// One word: "unheard", "unfinished", "failed", "left", "unknown", "not-awaited".
[[nodiscard]] std::string_view silence_name(Silence silence);

struct SilentMember {
  std::string name;
  Silence why;
  auto operator<=>(const SilentMember&) const = default;
};

/// Our own query ended: all addressed live members answered, enough answers have come, or time is
/// up.
struct QueryEnded {
  MessageId id;
  bool timed_out;
  bool limited;                      ///< QueryOptions::limit was reached
  std::vector<SilentMember> silent;  ///< those asked that did not finish, by name
};

/// One address of a join command was tried.
struct JoinTried {
  uint64_t join;  ///< as returned by Node::join
  Address address;
  bool ok;
  std::string error;  ///< why not
};
/// Our own leave has been told to the others: the agent may stop.
struct LeaveDone {};

// --- what to keep across a restart ---

/// Progress in one origin's events; replaces what was kept for (origin, epoch). Saved together
/// with the UserEventArrived that comes just before it, if one does. What waits for events before
/// it is not progress: after a restart it is fetched again.
struct SaveProgress {
  NodeId origin;
  uint32_t epoch;
  uint64_t contiguous;           ///< everything up to here was delivered, missed or skipped
  std::vector<uint64_t> beyond;  ///< empty: what comes after a gap is not delivered
};
/// The retention window has moved: forget the kept record of this event (not the progress).
struct ForgetEvent {
  MessageId id;
};
/// The progress of this origin and epoch is too old to matter.
struct ForgetProgress {
  NodeId origin;
  uint32_t epoch;
};

// --- diagnostics ---

enum class TraceLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError };
struct Trace {
  TraceLevel level;
  std::string text;
};

using Action = std::variant<SendDatagram, OpenStream, SendStream, CloseStream, MemberEvent,
                            UserEventArrived, EventsMissed, EventConfirmed, ConfirmEnded,
                            QueryArrived, QueryOver, QueryAnswered, QueryEnded, JoinTried,
                            LeaveDone, SaveProgress, ForgetEvent, ForgetProgress, Trace>;
using Actions = std::vector<Action>;

}  // namespace starling::membership
