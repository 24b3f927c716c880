// SPDX-License-Identifier: Apache-2.0
//
// An agent's door to the network: one UDP socket and one TCP listener on one port, and all
// streams. Everything that crosses is sealed. Knows nothing of what the bytes mean.
//
// Event-loop thread only. Callbacks run from the loop and from drain(), never inside send(),
// flush(), open_stream(), send_stream() or close_stream(); they may call any of these. They must
// not destroy the Transport. After its destruction none is called.
//
// What comes from outside is bounded: datagrams and streams handled in one turn of the loop,
// streams, handshakes, bytes held per stream, time without progress. Each drop is counted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/keyring.h"
#include "agent/net/strangers.h"
#include "membership/action.h"
#include "membership/address.h"
#include "membership/ids.h"
#include "membership/limits.h"
#include "membership/node.h"
#include "membership/time.h"
#include "proto/support/result.h"

namespace asio {
class io_context;
}

namespace starling::agent {

inline constexpr uint16_t kDefaultPort = 7946;

/// Counts since the start; monotonic, but for streams_now.
struct TransportStatistics {
  uint64_t packets_received = 0;  ///< opened and delivered
  uint64_t bytes_received = 0;    ///< sealed bytes of these
  uint64_t packets_sent = 0;
  uint64_t bytes_sent = 0;
  // datagrams dropped on arrival
  uint64_t dropped_malformed = 0;  ///< too short, or another version
  uint64_t dropped_too_large = 0;
  uint64_t dropped_unknown_key = 0;
  uint64_t dropped_forged = 0;
  uint64_t dropped_replayed = 0;   ///< heard before
  uint64_t dropped_old_boot = 0;   ///< from before its sender's restart
  uint64_t dropped_twin = 0;       ///< a second process with the identity of another
  uint64_t dropped_own = 0;        ///< our own packet came back
  uint64_t dropped_by_kernel = 0;  ///< receive buffer full
  // datagrams not sent
  uint64_t send_buffer_full = 0;
  uint64_t send_too_large = 0;
  uint64_t send_failed = 0;  ///< no route, wrong family, not permitted
  uint64_t refused = 0;      ///< ICMP port unreachable
  // streams
  uint64_t streams_now = 0;  ///< open, opening or closing, accepted handshakes included
  uint64_t streams_opened = 0;
  uint64_t streams_checked = 0;  ///< connected to see whether that can be done, and ended at once
  uint64_t streams_accepted = 0;
  uint64_t streams_reset = 0;           ///< accepted ones reset before a byte came: checks, scans
  uint64_t streams_failed = 0;          ///< own ones that were not opened
  uint64_t stream_limit = 0;            ///< refused at kMaxStreams
  uint64_t handshake_limit = 0;         ///< oldest unfinished handshake given up for a new one
  uint64_t handshakes_failed = 0;       ///< accepted ones: timeout, garbage, closed; not reset ones
  uint64_t handshakes_unknown_key = 0;  ///< accepted ones: sealed with another key
  uint64_t stream_forged = 0;           ///< a frame that does not open, or of forbidden length
  uint64_t stream_output_full = 0;      ///< closed because the other side reads too slowly
  uint64_t stream_idle = 0;             ///< closed because nothing moved
  uint64_t stream_messages_received = 0;
  uint64_t stream_messages_sent = 0;
  uint64_t stream_bytes_received = 0;  ///< sealed
  uint64_t stream_bytes_sent = 0;
  uint64_t accept_failed = 0;  ///< out of file descriptors and the like
};

/// Bounds of a Transport; the defaults are for production, tests shorten them.
struct TransportLimits {
  size_t streams = membership::kMaxStreams;
  /// Accepted streams that have not proved to hold a key; counted apart from `streams`, so that
  /// strangers cannot shut members out. At the bound the oldest is given up, if it has had
  /// `handshake_grace`; until then who comes waits in the kernel's queue.
  size_t handshakes = 64;
  std::chrono::milliseconds handshake_grace{250};
  std::chrono::milliseconds handshake_timeout{5000};
  std::chrono::milliseconds idle_timeout{60'000};
  /// Time that close_stream() gives the other side to take what was sent.
  std::chrono::milliseconds flush_timeout{5000};
  /// Sealed bytes that wait to be sent on one stream.
  size_t stream_output = 4U << 20;
  int receive_buffer = 2 << 20;  ///< SO_RCVBUF asked for; the kernel may grant less
};

/// What a stream is opened for.
enum class StreamGoal : uint8_t {
  kTalk,
  /// To see whether the port can be connected to. It ends when on_opened has returned. No byte is
  /// sent, and the other agent does not hear of it: its kernel alone answers.
  kConnect,
};

class Transport {
 public:
  using Address = membership::Address;
  using StreamId = membership::StreamId;
  using StreamEnd = membership::StreamEnd;

  /// All must be set. Views are valid during the call only.
  struct Callbacks {
    std::function<void(const Address& from, std::string_view plain)> on_datagram;
    /// The peer's host answered that nobody listens on its port (ICMP port unreachable).
    std::function<void(const Address& peer)> on_refused;
    /// Follows one or more of these two, as many as came at once: time to answer.
    std::function<void()> on_delivered;
    /// Another agent opened a stream, and proved to hold one of our keys. Ids are not used twice.
    std::function<void(StreamId stream, const Address& from)> on_accepted;
    std::function<void(StreamId stream)> on_opened;
    std::function<void(StreamId stream, std::string_view message)> on_message;
    /// The last word on a stream, exactly once, unless close_stream() was called. `why` is one
    /// line for a log and names the peer.
    std::function<void(StreamId stream, StreamEnd end, std::string why)> on_closed;
  };

  /// Binds. Port 0: any port that is free for both UDP and TCP. `::` takes IPv4 as well. Errors
  /// (kUnavailable) name the address and what to do about it.
  static Result<std::unique_ptr<Transport>> open(asio::io_context& io, const Address& bind,
                                                 const Keyring& keyring,
                                                 const membership::NodeId& self, uint32_t epoch,
                                                 Callbacks callbacks, TransportLimits limits = {});
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// Takes one datagram of at most kMaxPacket plain bytes, to be sent with others: by flush(), or
  /// as soon as there are many. What cannot be sent is dropped and counted.
  void send(const Address& to, std::string_view plain);
  /// Sends what send() has taken. To be called at the end of each turn that has sent.
  void flush();

  /// Connects and shakes hands; on_opened or on_closed follows, at the latest after `timeout`.
  /// `id` < kFirstAcceptedStream, never used before.
  void open_stream(StreamId id, const Address& to, membership::Duration timeout,
                   StreamGoal goal = StreamGoal::kTalk);
  /// Sends one message of at most kMaxStreamMessage bytes; before on_opened it waits for that.
  /// Unknown ids are ignored (the stream may just have ended).
  void send_stream(StreamId id, std::string_view message);
  /// Sends what is queued, then closes; a stream not yet open is given up at once. Not reported;
  /// nothing more is delivered from it. Unknown ids are ignored.
  void close_stream(StreamId id);

  /// Changes the keys: what is sent and opened from now on is sealed with the new primary key. What
  /// any key of the ring has sealed is taken; streams that are open go on under the keys that they
  /// have agreed upon.
  void set_keyring(const Keyring& keyring);

  /// Delivers datagrams (and refusals) that are waiting right now. Returns how many datagrams were
  /// read. Does nothing when called from a callback.
  size_t drain(size_t max_datagrams);

  /// As bound, with the port that was picked.
  [[nodiscard]] Address local_address() const;
  [[nodiscard]] TransportStatistics statistics() const;
  /// From where packets came that could not be taken, at most Strangers::kMax sources.
  [[nodiscard]] const std::vector<Stranger>& strangers() const;

 private:
  class Impl;
  explicit Transport(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // shared with the handlers of pending socket operations
};

}  // namespace starling::agent
