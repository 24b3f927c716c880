// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/payloads.h"

#include <algorithm>
#include <utility>

#include "membership/limits.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr size_t kMaxFetching = 4;   // at once
constexpr size_t kMaxUploads = 16;   // at once; others wait on their streams
constexpr size_t kMaxServed = 1024;  // payloads whose takers are remembered
constexpr size_t kMaxSources = 16;   // per payload
// All sources in vain: others are asked after a while, doubling, this many times.
constexpr unsigned kRounds = 8;
constexpr size_t kSourcesPerRound = 3;
constexpr Duration kLongestWait = std::chrono::seconds(5);
// Who asks later than this after the last one is served as the first was.
constexpr Duration kServedFor = std::chrono::seconds(60);

}  // namespace

// --- fetching ----------------------------------------------------------------------------------

Verdict Payloads::want(const MessageId& id, const proto::Record& head, const NodeId& from) {
  if (offer(id, from)) return Verdict::kKnown;
  Fetch fetch;
  if (!fetch.head.ParseFromString(head.payload())) return Verdict::kInvalid;
  if (fetches_.size() >= kMaxFetches) {
    ++context_.statistics.dropped_fetches;
    return Verdict::kKnown;
  }
  fetch.sent = sent_at(head, context_.now);
  fetch.sources.push_back(from);
  fetches_.emplace(id, std::move(fetch));
  queue_.push_back(id);
  start_some();
  return Verdict::kFresh;
}

bool Payloads::offer(const MessageId& id, const NodeId& holder) {
  const auto found = fetches_.find(id);
  if (found == fetches_.end()) return false;
  Fetch& fetch = found->second;
  const bool known =
      fetch.asked.contains(holder) ||
      std::find(fetch.sources.begin(), fetch.sources.end(), holder) != fetch.sources.end();
  if (!known && fetch.sources.size() < kMaxSources) fetch.sources.push_back(holder);
  return true;
}

void Payloads::start_some() {
  while (running_ < kMaxFetching && !queue_.empty()) {
    const MessageId id = queue_.front();
    queue_.pop_front();
    const auto found = fetches_.find(id);
    if (found == fetches_.end()) continue;
    ++running_;
    ask_next(id, found->second);
  }
}

void Payloads::ask_next(const MessageId& id, Fetch& fetch) {
  while (!fetch.sources.empty()) {
    const NodeId source = fetch.sources.front();
    fetch.sources.pop_front();
    const Entry* entry = table_.find(source);
    if (entry == nullptr || !entry->up() || !fetch.asked.insert(source).second) continue;
    const auto stream =
        streams_.open(StreamUse::kPayload, entry->address(), 4 * context_.options.probe_interval);
    if (!stream) break;
    fetch.source = source;
    fetch.stream = *stream;
    asking_.emplace(*stream, id);
    return;
  }
  next_round(id, fetch);
}

void Payloads::next_round(const MessageId& id, Fetch& fetch) {
  --running_;
  if (++fetch.rounds > kRounds) {
    // Whoever has it will be found by anti-entropy.
    fetches_.erase(id);
    ++context_.statistics.dropped_fetches;
  } else {
    fetch.asked.clear();
    due_.set(id, context_.now + std::min<Duration>(
                                    context_.options.round_trip_max * (1U << (fetch.rounds - 1)),
                                    kLongestWait));
  }
  start_some();
}

void Payloads::stop_asking(Fetch& fetch) {
  if (fetch.stream == 0) return;
  asking_.erase(fetch.stream);
  streams_.close(std::exchange(fetch.stream, 0));
}

void Payloads::request_piece(const MessageId& id, const Fetch& fetch) {
  proto::StreamMessage message;
  proto::PayloadRequest& request = *message.mutable_payload_request();
  write_id(id, *request.mutable_event());
  request.set_offset(fetch.data.size());
  request.set_insist(fetch.rounds > 0);
  streams_.send(fetch.stream, std::move(message));
}

void Payloads::stream_opened(StreamId stream) {
  const auto found = asking_.find(stream);
  if (found != asking_.end()) request_piece(found->second, fetches_.at(found->second));
}

void Payloads::receive(StreamId stream, const proto::PayloadReply& reply) {
  const auto found = asking_.find(stream);
  if (found == asking_.end()) {
    streams_.close(stream);
    return;
  }
  const MessageId id = found->second;
  Fetch& fetch = fetches_.at(id);
  if (reply.data().empty()) {
    stop_asking(fetch);
    std::vector<NodeId> holders;
    for (const std::string& wire : reply.holders()) {
      const auto holder = NodeId::from_wire(wire);
      if (holder && *holder != context_.identity.id && holders.size() < kMaxSources) {
        holders.push_back(*holder);
      }
    }
    // In random order, so that they share those who are sent to them.
    for (const NodeId& holder : context_.random.sample(holders, holders.size())) {
      fetch.sources.push_front(holder);
    }
    if (fetch.sources.size() > kMaxSources) fetch.sources.resize(kMaxSources);
    ask_next(id, fetch);
    return;
  }
  take_piece(id, fetch, reply);
}

void Payloads::take_piece(const MessageId& id, Fetch& fetch, const proto::PayloadReply& reply) {
  const uint64_t size = fetch.head.size();
  const bool fits =
      reply.offset() == fetch.data.size() && reply.data().size() <= size - fetch.data.size();
  if (fits) fetch.data += reply.data();
  if (fits && fetch.data.size() < size) {
    request_piece(id, fetch);
    return;
  }
  stop_asking(fetch);
  if (fits && digest_of(fetch.data) == fetch.head.digest()) {
    complete(id);
    return;
  }
  ++context_.statistics.malformed_streams;
  fetch.data.clear();
  ask_next(id, fetch);
}

void Payloads::complete(const MessageId& id) {
  auto node = fetches_.extract(id);
  --running_;
  ++context_.statistics.payloads_fetched;
  Fetch& fetch = node.mapped();
  events_.take_payload(id, fetch.head.SerializeAsString(), std::move(fetch.data), fetch.sent);
  if (arrived) arrived(id);
  serve_waiting(id);
  start_some();
}

// --- serving -----------------------------------------------------------------------------------

Payloads::Served& Payloads::served(const MessageId& id) {
  forget_.set(id, context_.now + kServedFor);
  if (forget_.size() > kMaxServed) {
    if (const auto oldest = forget_.pop(kNever)) served_.erase(*oldest);
  }
  return served_[id];
}

void Payloads::receive(StreamId stream, const NodeId& from, const proto::PayloadRequest& request) {
  const auto id = read_id(request.event());
  if (!id) {
    ++context_.statistics.malformed_streams;
    streams_.close(stream);
    return;
  }
  if (const auto running = uploads_.find(stream); running != uploads_.end()) {
    if (running->second.running && running->second.id == *id) {
      queue_piece(stream, running->second, request.offset());
    }
    return;
  }
  const bool here = events_.large_payload(*id) != nullptr;
  const auto fetch = fetches_.find(*id);
  const bool coming = fetch != fetches_.end() && fetch->second.source != from;
  Served& takers = served(*id);
  const bool room = takers.members.size() < kServes || takers.members.contains(from) ||
                    (here && request.insist());
  if (!room || (!here && !coming)) {
    pass_on(stream, *id, from);
    return;
  }
  takers.members.insert(from);
  Upload& upload = uploads_[stream];
  upload = Upload{*id, from};
  if (here) {
    start_upload(stream, upload, request.offset());
  } else {
    takers.waiting.insert(stream);
  }
}

void Payloads::pass_on(StreamId stream, const MessageId& id, const NodeId& asker) {
  ++context_.statistics.payloads_passed;
  proto::StreamMessage message;
  proto::PayloadReply& reply = *message.mutable_payload_reply();
  write_id(id, *reply.mutable_event());
  for (const NodeId& member : served(id).members) {
    if (member != asker) reply.add_holders(std::string(member.wire()));
  }
  streams_.send(stream, std::move(message));
}

void Payloads::start_upload(StreamId stream, Upload& upload, uint64_t offset) {
  if (uploading_ >= kMaxUploads) {
    backlog_.push_back(stream);
    return;
  }
  ++uploading_;
  upload.running = true;
  if (offset == 0) ++context_.statistics.payloads_served;
  queue_piece(stream, upload, offset);
}

/// Waits for its turn among all that this node sends; one piece of an upload at a time.
void Payloads::queue_piece(StreamId stream, Upload& upload, uint64_t offset) {
  if (std::exchange(upload.queued, true)) return;
  const std::string* payload = events_.large_payload(upload.id);
  const size_t size = payload != nullptr && offset < payload->size()
                          ? std::min(payload->size() - offset, outbox_.bulk_piece())
                          : 0;
  const bool taken = outbox_.bulk(size, [this, stream, id = upload.id, offset] {
    const auto found = uploads_.find(stream);
    if (found == uploads_.end() || found->second.id != id || !found->second.queued) return;
    found->second.queued = false;
    send_piece(stream, found->second, offset);
  });
  if (taken) return;
  upload.queued = false;
  send_piece(stream, upload, UINT64_MAX);  // an empty one: others have it
}

void Payloads::send_piece(StreamId stream, Upload& upload, uint64_t offset) {
  const std::string* payload = events_.large_payload(upload.id);
  proto::StreamMessage message;
  proto::PayloadReply& reply = *message.mutable_payload_reply();
  write_id(upload.id, *reply.mutable_event());
  reply.set_offset(offset);
  if (payload != nullptr && offset < payload->size()) {
    reply.set_data(payload->substr(offset, outbox_.bulk_piece()));
    upload.done = offset + reply.data().size() == payload->size();
  }
  streams_.send(stream, std::move(message));
}

void Payloads::serve_waiting(const MessageId& id) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  for (const StreamId stream : std::exchange(found->second.waiting, {})) {
    const auto upload = uploads_.find(stream);
    if (upload != uploads_.end()) start_upload(stream, upload->second, 0);
  }
}

void Payloads::start_uploads() {
  while (uploading_ < kMaxUploads && !backlog_.empty()) {
    const StreamId stream = backlog_.front();
    backlog_.pop_front();
    const auto upload = uploads_.find(stream);
    if (upload != uploads_.end()) start_upload(stream, upload->second, 0);
  }
}

void Payloads::stream_closed(StreamId stream) {
  if (const auto asking = asking_.find(stream); asking != asking_.end()) {
    const MessageId id = asking->second;
    asking_.erase(asking);
    Fetch& fetch = fetches_.at(id);
    fetch.stream = 0;
    ask_next(id, fetch);
    return;
  }
  const auto found = uploads_.find(stream);
  if (found == uploads_.end()) return;
  const Upload upload = found->second;
  uploads_.erase(found);
  if (const auto takers = served_.find(upload.id); takers != served_.end()) {
    takers->second.waiting.erase(stream);
    if (!upload.done) takers->second.members.erase(upload.to);
  }
  if (upload.running) {
    --uploading_;
    start_uploads();
  }
}

// --- time --------------------------------------------------------------------------------------

void Payloads::advance() {
  while (const auto id = due_.pop(context_.now)) {
    const auto found = fetches_.find(*id);
    if (found == fetches_.end()) continue;
    Fetch& fetch = found->second;
    // The origin has it as long as anybody; and of others perhaps some.
    if (id->origin != context_.identity.id) fetch.sources.push_back(id->origin);
    const auto anyone = [](const Entry& entry) { return entry.status == Status::kAlive; };
    for (const Entry* entry : table_.random_up(kSourcesPerRound, context_.random, anyone)) {
      fetch.sources.push_back(entry->id());
    }
    queue_.push_back(*id);
  }
  start_some();
  while (const auto id = forget_.pop(context_.now)) {
    const auto found = served_.find(*id);
    if (found != served_.end() && found->second.waiting.empty()) served_.erase(found);
  }
}

}  // namespace starling::membership
