// SPDX-License-Identifier: Apache-2.0
//
// One sealed stream over TCP: connecting, handshake, messages, deadlines, closing. Belongs to a
// Transport and is used by it alone. Event-loop thread only.
//
// Life: connecting (own streams) -> handshake -> open -> flushing (after close()) -> over. Whatever
// ends it, the owner hears of it exactly once, from the loop and never inside a call. One that is
// to connect only is over when the owner has heard that it has.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/net/socket.h"
#include "agent/net/stream_codec.h"
#include "agent/net/transport.h"

namespace starling::agent {

class Stream;

/// What streams tell their owner, and what they share.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  /// Open; or connected, when it was to do no more.
  virtual void stream_established(Stream& stream) = 0;
  virtual void stream_message(Stream& stream, std::string_view message) = 0;
  /// The socket is closed. The owner may drop the stream.
  virtual void stream_over(Stream& stream) = 0;

  TransportStatistics statistics;
  static constexpr size_t kScratch = 64U << 10;
  /// What is read lands here first: idle streams hold no buffer.
  std::unique_ptr<char[]> scratch;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  using Address = membership::Address;
  using StreamId = membership::StreamId;
  using StreamEnd = membership::StreamEnd;

  struct End {
    StreamEnd end;
    std::string why;
  };

  /// `owner` and `limits` must live until the stream is over or abandoned.
  Stream(asio::io_context& io, StreamOwner& owner, std::shared_ptr<const Keyring> keyring,
         const TransportLimits& limits, StreamId id, const Address& peer);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // One of these follows construction.
  void connect(const Address& bound, membership::Duration timeout, StreamGoal goal);
  void accept(FileDescriptor socket);
  void refuse(StreamEnd end, std::string_view why);

  /// The agent's keys have changed. A stream that is open keeps its own.
  void set_keyring(const std::shared_ptr<const Keyring>& keyring) {
    if (!codec_.established() && codec_.set_keyring(*keyring)) keyring_ = keyring;
  }

  void send(std::string_view message);
  /// What was sent goes out, then the socket closes; nothing more is delivered or reported.
  void close();
  /// Closes at once and without a word to the owner, which is going away.
  void abandon();

  [[nodiscard]] StreamId id() const { return id_; }
  [[nodiscard]] const Address& peer() const { return peer_; }
  [[nodiscard]] bool accepted() const { return id_ >= membership::kFirstAcceptedStream; }
  [[nodiscard]] bool established() const { return codec_.established(); }
  /// Its owner was told that it is established.
  [[nodiscard]] bool announced() const { return announced_; }
  /// The other side has broken it off before a byte of it came.
  [[nodiscard]] bool reset_unheard() const { return reset_ && heard_nothing(); }
  [[nodiscard]] StreamFailure failure() const { return codec_.failure(); }
  /// Set when it is over: why. `silent` after close(): nobody wants to know.
  [[nodiscard]] const std::optional<End>& end() const { return end_; }
  [[nodiscard]] bool silent() const { return silent_; }

 private:
  enum class State : uint8_t { kNew, kConnecting, kHandshake, kOpen, kFlushing, kOver };
  enum class ReadResult : uint8_t { kMore, kEmpty, kEnd };
  struct Io;  // descriptor and timer: keeps Asio out of this header

  /// False: it is over.
  bool prepare(const Address& bound, int family);
  void start_handshake();
  void connected();
  void wait_readable();
  void wait_writable();
  void readable();
  ReadResult read_some();
  void closed_by_peer(int error);
  void received(std::string_view bytes);
  void established_now();
  void write_out();
  void queued();
  void flushed();
  void set_deadline(std::chrono::nanoseconds after);
  void arm_timer();
  void deadline_passed();
  void finish(StreamEnd end, std::string_view why);
  [[nodiscard]] std::string describe(std::string_view why) const;
  [[nodiscard]] bool heard_nothing() const { return !codec_.can_seal() && !codec_.mid_frame(); }
  [[nodiscard]] bool over() const { return state_ == State::kOver; }

  StreamOwner* owner_;
  const TransportLimits& limits_;
  StreamId id_;
  Address peer_;
  State state_ = State::kNew;
  StreamGoal goal_ = StreamGoal::kTalk;
  std::shared_ptr<const Keyring> keyring_;  // codec_ refers to it
  StreamCodec codec_;
  FileDescriptor socket_;
  std::unique_ptr<Io> io_;
  std::deque<std::string> early_;  // messages from before the handshake ended
  size_t early_bytes_ = 0;
  std::string out_;
  size_t written_ = 0;  // of out_
  size_t discarded_ = 0;
  bool waiting_writable_ = false;
  bool write_broken_ = false;
  bool reset_ = false;
  bool announced_ = false;
  bool shut_down_ = false;
  bool silent_ = false;
  std::optional<End> end_;
};

}  // namespace starling::agent
