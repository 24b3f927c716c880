// SPDX-License-Identifier: Apache-2.0
//
// Streams: which streams are open, what for, and since when nothing was heard on them. Bounded by
// kMaxStreams; one on which nothing happens for Options::stream_timeout is closed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "membership/context.h"
#include "membership/deadlines.h"
#include "proto/gossip.pb.h"

namespace starling::membership {

enum class StreamUse : uint8_t {
  kUndecided,  ///< accepted; the first message will tell
  kProbe,
  kCheck,  ///< a connection and nothing more: to see whether there can be one
  kSync,
  kMessage,
  kPayload,
};

class Streams {
 public:
  struct Stream {
    StreamUse use;
    Address peer;
    bool open;     ///< connected
    bool patient;  ///< given so long to connect that silence means something
  };

  explicit Streams(Context& context) : context_(context) {}

  /// Asks for a connection; none when too many are open.
  std::optional<StreamId> open(StreamUse use, const Address& to, Duration timeout);
  /// False when too many are open: it is told that we are busy, and closed.
  bool accept(StreamId id, const Address& from);
  void opened(StreamId id);
  [[nodiscard]] Stream* find(StreamId id);
  /// Sends and counts as activity. Unknown ids are ignored.
  void send(StreamId id, proto::StreamMessage message);
  /// Something arrived.
  void touch(StreamId id);
  /// Closes by our wish.
  void close(StreamId id);
  /// Was closed by the other side or the driver.
  std::optional<Stream> forget(StreamId id);

  [[nodiscard]] size_t size() const { return streams_.size(); }
  [[nodiscard]] TimePoint next_deadline() const { return idle_.next(); }
  /// A stream that has been idle for too long, if there is one; it still has to be closed.
  std::optional<StreamId> pop_idle() { return idle_.pop(context_.now); }

 private:
  Context& context_;
  StreamId next_ = 1;
  std::map<StreamId, Stream> streams_;
  Deadlines<StreamId> idle_;
};

}  // namespace starling::membership
