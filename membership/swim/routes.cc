// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/routes.h"

#include <algorithm>

#include "membership/limits.h"

namespace starling::membership {

namespace {

// Answers are waited for among so many probes that ended without them.
constexpr size_t kMaxLate = 64;
constexpr unsigned kProbesPerCheck = 10;
// What a connection cannot show is rare where datagrams are answered: something on the way that
// accepts for the other side, and passes nothing on.
constexpr unsigned kChecksPerHandshake = 10;
constexpr unsigned kProbesPerSweep = 256;
constexpr Duration kCheckAgain = std::chrono::seconds(5);

}  // namespace

// Members that start together do not shake hands in the same round.
Routes::Routes(Context& context, MemberTable& table)
    : context_(context),
      table_(table),
      until_handshake_(context.identity.id.bytes[0] % kChecksPerHandshake) {}

Routes::Way* Routes::way(const NodeId& peer) {
  const auto found = entries_.find(peer);
  if (found != entries_.end()) return &found->second;
  if (table_.find(peer) == nullptr) return nullptr;
  if (entries_.size() >= kMaxRoutes) {
    ++context_.statistics.dropped_routes;
    return nullptr;
  }
  return &entries_[peer];
}

/// Forgets a way with which nothing is wrong.
void Routes::settle(const NodeId& peer) {
  const auto found = entries_.find(peer);
  if (found == entries_.end()) return;
  if (found->second.lost == 0 && found->second.streams_failed == 0) entries_.erase(found);
}

void Routes::sweep() {
  std::erase_if(entries_,
                [this](const auto& entry) { return table_.find(entry.first) == nullptr; });
}

// --- probes ------------------------------------------------------------------------------------

void Routes::direct(const NodeId& peer) {
  if (Entry* entry = table_.find(peer)) entry->answered = true;
  const auto found = entries_.find(peer);
  if (found == entries_.end()) return;
  Way& way = found->second;
  way.last = ProbeResult::kDirect;
  way.lost = 0;
  way.helper = NodeId();
  way.was_heard = false;
  way.refused = false;
  settle(peer);
}

void Routes::without_direct(uint32_t sequence, const NodeId& peer, ProbeResult result) {
  Way* found = way(peer);
  if (found == nullptr) return;
  if (found->lost++ == 0) {
    found->lost_since = context_.now;
    found->was_heard = false;
  }
  found->last = result;
  late_.push_back({sequence, peer});
  if (late_.size() > kMaxLate) late_.pop_front();
}

void Routes::indirect(const NodeId& peer, const NodeId& helper) {
  if (Way* found = way(peer)) found->helper = helper;
}

void Routes::late_ack(uint32_t sequence, const NodeId& sender) {
  const auto found = std::ranges::find(late_, sequence, &Late::sequence);
  if (found == late_.end()) return;
  const NodeId peer = found->peer;
  if (sender != peer) {
    const auto known = entries_.find(peer);
    if (known != entries_.end() && known->second.lost > 0) known->second.helper = sender;
    return;
  }
  late_.erase(found);
  direct(peer);
}

void Routes::refused(const Address& peer) {
  if (entries_.empty()) return;
  const Entry* entry = table_.find_address(peer, NodeId());
  const auto found = entry == nullptr ? entries_.end() : entries_.find(entry->id());
  if (found != entries_.end()) found->second.refused = true;
}

void Routes::heard(const NodeId& peer) {
  if (entries_.empty()) return;
  const auto found = entries_.find(peer);
  if (found == entries_.end()) return;
  found->second.heard = context_.now;
  found->second.was_heard = true;
}

// --- streams -----------------------------------------------------------------------------------

StreamCheck Routes::check_stream(const NodeId& peer) {
  if (++until_sweep_ >= kProbesPerSweep) {
    until_sweep_ = 0;
    sweep();
  }
  const auto found = entries_.find(peer);
  if (found != entries_.end()) {
    Way& way = found->second;
    if (way.was_checked && context_.now - way.checked < kCheckAgain) return StreamCheck::kNone;
    way.was_checked = true;
    way.checked = context_.now;
    return StreamCheck::kHandshake;
  }
  if (++until_check_ < kProbesPerCheck) return StreamCheck::kNone;
  until_check_ = 0;
  if (++until_handshake_ < kChecksPerHandshake) return StreamCheck::kConnect;
  until_handshake_ = 0;
  return StreamCheck::kHandshake;
}

void Routes::stream_opened(const Address& peer) {
  if (entries_.empty()) return;
  const Entry* entry = table_.find_address(peer, NodeId());
  const auto found = entry == nullptr ? entries_.end() : entries_.find(entry->id());
  if (found == entries_.end()) return;
  found->second.stream = StreamResult::kOpened;
  found->second.streams_failed = 0;
  settle(entry->id());
}

void Routes::stream_failed(const Address& peer, StreamEnd end, bool patient) {
  StreamResult result = StreamResult::kSilent;
  if (end == StreamEnd::kRefused) result = StreamResult::kRefused;
  if (end == StreamEnd::kProtocol) result = StreamResult::kProtocol;
  // Closed by the other side before it was open: busy or stopping, which says nothing of the way.
  if (end == StreamEnd::kClosed || (result == StreamResult::kSilent && !patient)) return;
  const Entry* entry = table_.find_address(peer, NodeId());
  Way* found = entry == nullptr ? nullptr : way(entry->id());
  if (found == nullptr) return;
  if (found->streams_failed++ == 0) found->streams_failed_since = context_.now;
  found->stream = result;
}

// --- view --------------------------------------------------------------------------------------

std::vector<Route> Routes::list() const {
  std::vector<Route> routes;
  for (const auto& [peer, way] : entries_) {
    if (table_.find(peer) == nullptr) continue;
    Route route;
    route.peer = peer;
    route.last = way.last;
    route.lost = way.lost;
    if (way.lost > 0) route.lost_for = context_.now - way.lost_since;
    route.helper = way.helper;
    route.refused = way.refused;
    if (way.was_heard) route.heard = context_.now - way.heard;
    route.stream = way.stream;
    route.streams_failed = way.streams_failed;
    if (way.streams_failed > 0) {
      route.streams_failed_for = context_.now - way.streams_failed_since;
    }
    routes.push_back(route);
  }
  return routes;
}

}  // namespace starling::membership
