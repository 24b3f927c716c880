// SPDX-License-Identifier: Apache-2.0
//
// Records on streams: giving them in batches, and taking them.
#include <algorithm>
#include <memory>
#include <utility>

#include "membership/gossip/sync.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr size_t kBatchBytes = 256U << 10;
// Of what joiners are sent: verifying a piece takes them some milliseconds, in which they do not
// answer probes.
constexpr size_t kSnapshotPiece = 16U << 10;
constexpr size_t kMaxPublished = 1024;  // news of one exchange that are broadcast
constexpr Duration kSnapshotAge = std::chrono::milliseconds(100);

}  // namespace

uint64_t Sync::version_of(const Entry& entry) {
  return MemberTable::fingerprint_of(entry.id(), entry.incarnation) +
         static_cast<uint64_t>(entry.status);
}

/// Members whose version is not in `but`, in batches.
std::vector<proto::SyncBatch> Sync::introductions(const Versions& but) const {
  std::vector<proto::SyncBatch> batches;
  size_t bytes = kSnapshotPiece;
  for (const Entry* entry : parts_.table.all()) {
    const auto told = but.find(entry->id());
    if (told != but.end() && told->second == version_of(*entry)) continue;
    for (proto::Record& record : parts_.members.introduce(entry->id())) {
      const size_t size = record.ByteSizeLong() + 5;
      if (bytes + size > kSnapshotPiece) {
        batches.emplace_back();
        bytes = 0;
      }
      *batches.back().add_records() = std::move(record);
      bytes += size;
    }
  }
  return batches;
}

void Sync::send_snapshot(StreamId stream) {
  const uint64_t print = parts_.table.fingerprint();
  if (snapshot_.empty() ||
      (print != snapshot_print_ && context_.now - snapshot_made_ >= kSnapshotAge)) {
    snapshot_ = introductions({});
    snapshot_versions_.clear();
    for (const Entry* entry : parts_.table.all()) {
      snapshot_versions_[entry->id()] = version_of(*entry);
    }
    snapshot_print_ = print;
    snapshot_made_ = context_.now;
  }
  const auto send = [this, stream](const proto::SyncBatch& batch) {
    proto::StreamMessage message;
    *message.mutable_sync_batch() = batch;
    parts_.streams.send(stream, std::move(message));
  };
  std::ranges::for_each(snapshot_, send);
  // Who has come since may have been broadcast before this newcomer was there to hear of it.
  if (print != snapshot_print_) std::ranges::for_each(introductions(snapshot_versions_), send);
}

void Sync::send_batches(StreamId stream, const std::vector<NodeId>& members,
                        const std::vector<MessageId>& events, proto::SyncBatch rest) {
  proto::SyncBatch batch = std::move(rest);
  size_t bytes = batch.ByteSizeLong();
  const bool paced = !events.empty() || batch.want_events_size() > 0;
  const size_t most = paced ? parts_.outbox.bulk_piece() : kBatchBytes;
  const auto add = [&](proto::Record record) {
    const size_t size = record.ByteSizeLong() + 5;
    if (bytes + size > most) {
      send_batch(stream, std::exchange(batch, {}), paced);
      bytes = 0;
    }
    *batch.add_records() = std::move(record);
    bytes += size;
  };
  for (const NodeId& id : members) {
    for (proto::Record& record : parts_.members.introduce(id)) add(std::move(record));
  }
  for (const MessageId& id : events) {
    if (auto record = parts_.events.find(id)) add(std::move(*record));
  }
  batch.set_last(true);
  send_batch(stream, std::move(batch), paced);
}

/// Events, and long lists of them, wait for room in what this node may send.
void Sync::send_batch(StreamId stream, proto::SyncBatch batch, bool paced) {
  const auto message = std::make_shared<proto::StreamMessage>();
  *message->mutable_sync_batch() = std::move(batch);
  const size_t bytes = message->ByteSizeLong();
  const auto send = [this, stream, message] { parts_.streams.send(stream, std::move(*message)); };
  if (!paced) return send();
  if (!parts_.outbox.bulk(bytes, send)) finish(stream, false, "has too much to send");
}

void Sync::apply_records(Session& session, const proto::SyncBatch& batch) {
  for (const proto::Record& record : batch.records()) {
    if (record.kind() == proto::RECORD_MEMBER) {
      proto::MemberRecord member;
      if (!member.ParseFromString(record.payload()) || member.id() != record.key()) {
        ++context_.statistics.malformed_streams;
        continue;
      }
      const Verdict verdict = parts_.members.apply(
          member, session.opener && session.newcomer ? Heard::kJoining : Heard::kSynced);
      spread_if_fresh(session, record, verdict);
    } else if (record.kind() == proto::RECORD_USER_EVENT) {
      const auto id = read_message_key(record.key());
      if (!id) continue;
      session.want_events.erase(*id);
      if (parts_.events.apply(record, session.peer_id) != Verdict::kFresh) continue;
      session.news = true;
      parts_.announcements.arrived(*id);
    }
  }
}

void Sync::spread_if_fresh(Session& session, const proto::Record& record, Verdict verdict) {
  if (verdict != Verdict::kFresh) return;
  session.news = true;
  // What is news to a member is news to all that agree with it. But one that agreed with few, or
  // learns of more members than it knew, was the one that was missing something.
  if (!session.in_majority || session.published >= std::min(kMaxPublished, session.known)) return;
  ++session.published;
  // Others of the same opinion may have learned the same just now.
  parts_.tree.publish_unless_heard(record, context_.options.sync_after / 2);
}

}  // namespace starling::membership
