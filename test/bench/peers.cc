// SPDX-License-Identifier: Apache-2.0
//
// bench_peers: thousands of members in one process, as one agent sees them. It tells the agent of
// them as the broadcast tree does, answers its probes, probes it as often as so many members would,
// and agrees with whatever the agent believes. For measuring what a large cluster costs an agent.
//
// Peers have addresses of 127.3.0.0/16 and one port; one socket serves all of them. Linux.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/net/keyring.h"
#include "agent/net/seal.h"
#include "agent/net/socket.h"
#include "membership/random.h"
#include "membership/signatures.h"
#include "membership/swim/vouching.h"
#include "proto/gossip.pb.h"

namespace {

using starling::agent::FileDescriptor;
using starling::agent::Keyring;
using starling::agent::PacketSealer;
using starling::membership::Ed25519Keys;
using starling::membership::NodeId;
using starling::membership::Random;
namespace proto = starling::proto;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kNetwork = 127U << 24 | 3U << 16;
constexpr uint32_t kMaxPeers = 60'000;
constexpr size_t kRecordsInPush = 4;  // signed ones of about 200 bytes fit a packet
constexpr size_t kPushesUnanswered = 16;
constexpr auto kRepeat = std::chrono::milliseconds(200);
/// Each member probes one of all the others in this time (Options::probe_interval of `lan`).
constexpr auto kProbeInterval = std::chrono::milliseconds(500);

Ed25519Keys keys_of(uint32_t peer) {
  Ed25519Keys::Seed seed{};
  seed[0] = 0x70;
  for (size_t i = 0; i < 4; ++i) seed[i + 1] = static_cast<uint8_t>(peer >> (8 * i));
  return Ed25519Keys(seed);
}

/// Made once: each takes some 30 microseconds.
const NodeId& id_of(uint32_t peer) {
  static std::unordered_map<uint32_t, NodeId> known;
  const auto found = known.find(peer);
  if (found != known.end()) return found->second;
  const Ed25519Keys keys = keys_of(peer);
  return known.emplace(peer, keys.id_of(keys.public_key())).first->second;
}

class Peers {
 public:
  Peers(uint32_t members, uint16_t port, sockaddr_in target)
      : members_(members),
        port_(port),
        target_(target),
        receiver_(keyring_, id_of(kMaxPeers), 1),
        told_(Clock::now()) {}

  /// False when the socket could not be had; errno says why.
  bool open() {
    socket_ = FileDescriptor(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    const int buffer = 8 << 20;
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port_);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    return socket_ && ::setsockopt(socket_.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0 &&
           ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0;
  }

  /// Until it is killed. Says "all told" once the agent has acknowledged every peer.
  void run() {
    const auto between = std::chrono::duration_cast<Clock::duration>(kProbeInterval);
    auto next_probe = Clock::now() + between;
    bool said = false;
    while (true) {
      tell_more();
      if (!said && acknowledged_ == pushes_needed()) {
        said = true;
        std::puts("all told");
        std::fflush(stdout);
      }
      if (said && Clock::now() >= next_probe) {
        next_probe += between;
        probe(static_cast<uint32_t>(random_.below(members_)));
      }
      pollfd waiting{socket_.get(), POLLIN, 0};
      ::poll(&waiting, 1, 5);
      while (receive()) {
      }
    }
  }

 private:
  [[nodiscard]] uint32_t pushes_needed() const {
    return (members_ + kRecordsInPush - 1) / kRecordsInPush;
  }

  proto::Record record_of(uint32_t peer) const {
    proto::MemberRecord member;
    member.set_id(std::string(id_of(peer).wire()));
    member.set_incarnation(uint64_t{1} << 32);
    member.set_status(proto::MEMBER_ALIVE);
    member.set_name("peer" + std::to_string(peer));
    const uint32_t ip = htonl(kNetwork + 1 + peer);
    member.set_address(std::string(reinterpret_cast<const char*>(&ip), sizeof ip));
    member.set_port(port_);
    for (const auto& [key, value] : {std::pair{"role", "web"}, std::pair{"dc", "fsn1"}}) {
      proto::Tag& tag = *member.add_tags();
      tag.set_key(key);
      tag.set_value(value);
    }
    member.set_protocol_min(1);
    member.set_protocol_max(1);
    const Ed25519Keys keys = keys_of(peer);
    member.set_public_key(keys.public_key().data(), keys.public_key().size());
    if (const auto described = starling::membership::read_description(member)) {
      const auto signature = keys.sign(starling::membership::signed_text(*described));
      member.set_signature(signature.data(), signature.size());
    }
    proto::Record record;
    record.set_kind(proto::RECORD_MEMBER);
    record.set_key(member.id());
    record.set_payload(member.SerializeAsString());
    return record;
  }

  void push(uint32_t number) {
    proto::Packet packet;
    proto::Push& push = *packet.add_pushes();
    const auto begin = static_cast<uint32_t>(number * kRecordsInPush);
    for (uint32_t i = begin; i < std::min<uint32_t>(begin + kRecordsInPush, members_); ++i) {
      *push.add_records() = record_of(i);
    }
    push.set_hop(number + 1);
    send(begin, packet, target_);
  }

  /// New pushes while few are unanswered; all unanswered ones again after a while.
  void tell_more() {
    while (open_.size() < kPushesUnanswered && next_push_ < pushes_needed()) {
      open_.emplace(next_push_, true);
      push(next_push_++);
    }
    if (open_.empty() || Clock::now() < told_ + kRepeat) return;
    told_ = Clock::now();
    for (const auto& [number, unused] : open_) push(number);
  }

  void probe(uint32_t peer) {
    if (agent_id_.empty()) return;
    proto::Packet packet;
    packet.mutable_ping()->set_sequence(++sequence_);
    packet.mutable_ping()->set_target(agent_id_);
    send(peer, packet, target_);
  }

  PacketSealer& sealer(uint32_t peer) {
    auto& sealer = sealers_[peer];
    if (!sealer) sealer = std::make_unique<PacketSealer>(keyring_, id_of(peer), 1, 1);
    return *sealer;
  }

  void send(uint32_t peer, proto::Packet& packet, sockaddr_in to) {
    packet.set_sender(std::string(id_of(peer).wire()));
    packet.set_member_fingerprint(member_fingerprint_);
    packet.set_event_fingerprint(event_fingerprint_);
    packet.SerializeToString(&plain_);
    sealer(peer).seal(plain_, sealed_);
    iovec bytes{sealed_.data(), sealed_.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))] = {};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    in_pktinfo source{};
    source.ipi_spec_dst.s_addr = htonl(kNetwork + 1 + peer);
    std::memcpy(CMSG_DATA(header), &source, sizeof source);
    ::sendmsg(socket_.get(), &message, 0);
  }

  bool receive() {
    char buffer[2048];
    alignas(cmsghdr) char control[256];
    sockaddr_in from{};
    iovec bytes{buffer, sizeof buffer};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(socket_.get(), &message, 0);
    if (size < 0) return false;
    const auto peer = addressed(message);
    const auto plain = receiver_.open({buffer, static_cast<size_t>(size)});
    if (peer && plain && packet_.ParseFromArray(plain->data(), static_cast<int>(plain->size()))) {
      answer(*peer, from);
    }
    return true;
  }

  [[nodiscard]] std::optional<uint32_t> addressed(msghdr& message) const {
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO) continue;
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(header), sizeof info);
      const uint32_t peer = ntohl(info.ipi_addr.s_addr) - kNetwork - 1;
      if (peer < members_) return peer;
    }
    return std::nullopt;
  }

  void answer(uint32_t peer, const sockaddr_in& from) {
    agent_id_ = packet_.sender();
    if (packet_.member_fingerprint() != 0) member_fingerprint_ = packet_.member_fingerprint();
    event_fingerprint_ = packet_.event_fingerprint();
    for (const uint32_t hop : packet_.push_acks()) {
      if (open_.erase(hop - 1) > 0) ++acknowledged_;
    }
    proto::Packet reply;
    if (packet_.has_ping()) {
      reply.mutable_ack()->set_sequence(packet_.ping().sequence());
      reply.mutable_ack()->set_target(std::string(id_of(peer).wire()));
    }
    for (const proto::Push& push : packet_.pushes()) reply.add_push_acks(push.hop());
    if (reply.has_ack() || reply.push_acks_size() > 0) send(peer, reply, from);
  }

  uint32_t members_;
  uint16_t port_;
  sockaddr_in target_;
  FileDescriptor socket_;
  Keyring keyring_ = Keyring::insecure();
  PacketSealer receiver_;
  std::unordered_map<uint32_t, std::unique_ptr<PacketSealer>> sealers_;
  Random random_{1};
  uint32_t next_push_ = 0;
  std::unordered_map<uint32_t, bool> open_;  // pushes without an acknowledgement
  uint32_t acknowledged_ = 0;
  Clock::time_point told_;
  uint32_t sequence_ = 0;
  std::string agent_id_;
  uint64_t member_fingerprint_ = 0;
  uint64_t event_fingerprint_ = 0;
  proto::Packet packet_;
  std::string plain_;
  std::string sealed_;
};

}  // namespace

int main(int argc, char** argv) {
  uint32_t members = 0;
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(7946);
  const std::string_view count = argc == 3 ? argv[2] : "";
  const bool counted =
      std::from_chars(count.data(), count.data() + count.size(), members).ec == std::errc();
  if (!counted || members == 0 || members > kMaxPeers ||
      ::inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
    std::fputs("usage: bench_peers AGENT_IP MEMBERS\n", stderr);
    return 2;
  }
  Peers peers(members, 7947, target);
  if (!peers.open()) {
    std::perror("bench_peers: socket");
    return 1;
  }
  peers.run();
}
