// SPDX-License-Identifier: Apache-2.0
#include "membership/streams.h"

#include <utility>

#include "membership/limits.h"

namespace starling::membership {

namespace {

// A lost packet of a handshake is repeated after a second, then after two (RFC 6298).
constexpr Duration kPatient = std::chrono::seconds(3);

}  // namespace

std::optional<StreamId> Streams::open(StreamUse use, const Address& to, Duration timeout) {
  if (streams_.size() >= kMaxStreams) {
    ++context_.statistics.refused_streams;
    return std::nullopt;
  }
  const StreamId id = next_++;
  streams_.emplace(id, Stream{use, to, false, timeout >= kPatient});
  idle_.set(id, context_.now + timeout);
  context_.emit(OpenStream{id, to, timeout, use == StreamUse::kCheck});
  return id;
}

bool Streams::accept(StreamId id, const Address& from) {
  if (streams_.size() >= kMaxStreams) {
    ++context_.statistics.refused_streams;
    proto::StreamMessage message;
    message.set_sender(std::string(context_.identity.id.wire()));
    message.mutable_sync_reply()->set_busy(true);
    context_.emit(SendStream{id, message.SerializeAsString()});
    context_.emit(CloseStream{id});
    return false;
  }
  streams_.emplace(id, Stream{StreamUse::kUndecided, from, true, true});
  idle_.set(id, context_.now + context_.options.stream_timeout);
  return true;
}

void Streams::opened(StreamId id) {
  if (Stream* stream = find(id)) {
    stream->open = true;
    touch(id);
  }
}

Streams::Stream* Streams::find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

void Streams::send(StreamId id, proto::StreamMessage message) {
  if (find(id) == nullptr) return;
  touch(id);
  message.set_sender(std::string(context_.identity.id.wire()));
  context_.emit(SendStream{id, message.SerializeAsString()});
}

void Streams::touch(StreamId id) {
  idle_.set(id, context_.now + context_.options.stream_timeout);
}

void Streams::close(StreamId id) {
  if (!forget(id)) return;
  context_.emit(CloseStream{id});
}

std::optional<Streams::Stream> Streams::forget(StreamId id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return std::nullopt;
  const Stream stream = found->second;
  streams_.erase(found);
  idle_.erase(id);
  return stream;
}

}  // namespace starling::membership
