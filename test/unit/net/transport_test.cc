// SPDX-License-Identifier: Apache-2.0
#include "agent/net/transport.h"

#include <fcntl.h>
#include <netinet/in.h>

#include <algorithm>

#include "agent/net/seal.h"
#include "test/catch.h"
#include "test/unit/net/peer.h"

namespace starling::agent {
namespace {

using membership::Address;
using membership::NodeId;

bool has_ipv6() {
  const FileDescriptor fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto address = to_socket_address(*Address::from_ip("::1", 0), AF_INET6);
  return fd && bind(fd.get(), address->get(), address->size) == 0;
}

// A UDP socket of a stranger.
struct Stranger {
  Stranger() : fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  void send(const Address& to, std::string_view bytes) const {
    const auto address = to_socket_address(to, AF_INET);
    REQUIRE(sendto(fd.get(), bytes.data(), bytes.size(), 0, address->get(), address->size) >= 0);
  }
  FileDescriptor fd;
};

// A port on which nobody listens: it was ours a moment ago.
Address closed_port(asio::io_context& io, const std::string& ip = "127.0.0.1") {
  Peer gone(io, 99, kTestKey, *Address::from_ip(ip, 0));
  REQUIRE(gone.transport != nullptr);
  return gone.address();
}

void exchange(const Address& bind_a, const Address& bind_b, const std::string& target_ip) {
  asio::io_context io;
  Peer a(io, 1, kTestKey, bind_a);
  Peer b(io, 2, kTestKey, bind_b);
  REQUIRE(a.transport != nullptr);
  REQUIRE(b.transport != nullptr);
  CHECK(a.address().port() != 0);
  const Address to_b = *Address::from_ip(target_ip, b.address().port());
  a.send(to_b, "ping");
  REQUIRE(run_until(io, [&] { return !b.datagrams.empty(); }));
  CHECK(b.datagrams[0].second == "ping");
  CHECK(b.datagrams[0].first.port() == a.address().port());
  b.send(b.datagrams[0].first, "ack");
  REQUIRE(run_until(io, [&] { return !a.datagrams.empty(); }));
  CHECK(a.datagrams[0] == std::pair<Address, std::string>(to_b, "ack"));
  a.transport->open_stream(1, to_b, std::chrono::seconds(5));
  REQUIRE(run_until(io, [&] { return !a.opened_streams.empty() && !b.accepted.empty(); }));
  a.transport->send_stream(1, "over the stream");
  REQUIRE(run_until(io, [&] { return !b.messages.empty(); }));
  CHECK(b.messages[b.accepted[0].first][0] == "over the stream");
  const auto statistics = a.statistics();
  CHECK(statistics.packets_sent == 1);
  CHECK(statistics.packets_received == 1);
  CHECK(statistics.bytes_sent == 4 + kSealOverhead);
  CHECK(statistics.bytes_received == 3 + kSealOverhead);
}

TEST_CASE("datagrams and streams cross IPv4 loopback") {
  exchange(loopback(), loopback(), "127.0.0.1");
}

TEST_CASE("datagrams and streams cross IPv6 loopback") {
  if (!has_ipv6()) return;
  const Address v6 = *Address::from_ip("::1", 0);
  exchange(v6, v6, "::1");
}

TEST_CASE("an agent bound to all of IPv6 talks to IPv4 as well") {
  if (!has_ipv6()) return;
  const Address any = *Address::from_ip("::", 0);
  exchange(any, loopback(), "127.0.0.1");
  exchange(loopback(), any, "127.0.0.1");
  exchange(*Address::from_ip("::1", 0), any, "::1");
}

TEST_CASE("a port that is taken is refused with the remedy") {
  asio::io_context io;
  Peer first(io, 1);
  const Peer second(io, 2, kTestKey, first.address());
  CHECK(second.transport == nullptr);
  CHECK(second.error.find(first.address().to_string()) != std::string::npos);
  CHECK(second.error.find("-bind") != std::string::npos);
  const Peer elsewhere(io, 3, kTestKey, *Address::parse("192.0.2.1:7946"));
  CHECK(elsewhere.error.find("no interface") != std::string::npos);
}

TEST_CASE("a port taken for TCP alone is not picked and not bound") {
  asio::io_context io;
  BoundSockets taken = *bind_sockets(loopback(), 0);
  taken.udp.reset();
  const Peer peer(io, 1, kTestKey, taken.address);
  CHECK(peer.transport == nullptr);
  CHECK(peer.error.find("TCP") != std::string::npos);
  for (int i = 0; i < 20; ++i) CHECK(Peer(io, 2).address().port() != taken.address.port());
}

TEST_CASE("a port can be bound again at once") {
  asio::io_context io;
  Address address;
  {
    Peer a(io, 1);
    Peer b(io, 2);
    address = a.address();
    b.transport->open_stream(1, a.address(), std::chrono::seconds(5));
    REQUIRE(run_until(io, [&] { return !a.accepted.empty(); }));
  }  // a closes first: its side goes to TIME_WAIT
  const Peer again(io, 3, kTestKey, address);
  CHECK(again.error.empty());
}

TEST_CASE("datagrams that do not open are dropped and counted by reason") {
  asio::io_context io;
  Peer peer(io, 1);
  NodeId other;
  other.bytes.fill(9);
  NodeId own;
  own.bytes.fill(1);
  PacketSealer good(*Keyring::from_base64({kTestKey}), other, 5);
  PacketSealer twin(*Keyring::from_base64({kTestKey}), other, 5);
  PacketSealer old(*Keyring::from_base64({kTestKey}), other, 4);
  PacketSealer stranger(*Keyring::from_base64({kOtherKey}), other, 5);
  PacketSealer self(*Keyring::from_base64({kTestKey}), own, 5);
  const std::string sealed = good.seal("good");
  std::string forged = good.seal("forged");
  forged.back() = static_cast<char>(forged.back() ^ 1);
  const Stranger socket;
  for (const std::string& bytes :
       {sealed, sealed, forged, twin.seal("x"), old.seal("x"), stranger.seal("x"), self.seal("x"),
        std::string(), std::string("\x01short"), std::string(100, 'x'),
        std::string(kMaxSealedPacket + 1, '\x01'), std::string(9000, '\x01'), good.seal("last")}) {
    socket.send(peer.address(), bytes);
  }
  REQUIRE(run_until(io, [&] { return peer.datagrams.size() == 2; }));
  const auto statistics = peer.statistics();
  CHECK(statistics.dropped_replayed == 1);
  CHECK(statistics.dropped_forged == 1);
  CHECK(statistics.dropped_twin == 1);
  CHECK(statistics.dropped_old_boot == 1);
  CHECK(statistics.dropped_unknown_key == 1);
  CHECK(statistics.dropped_own == 1);
  CHECK(statistics.dropped_malformed == 3);
  CHECK(statistics.dropped_too_large == 2);
  CHECK(statistics.packets_received == 2);
}

TEST_CASE("keys change while agents talk") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  size_t sent = 0;
  membership::StreamId stream = 0;
  const auto talk = [&] {
    a.send(b.address(), "by datagram");
    b.send(a.address(), "back");
    ++sent;
    a.transport->open_stream(++stream, b.address(), std::chrono::seconds(5));
    for (membership::StreamId open = 1; open <= stream; ++open) {
      a.transport->send_stream(open, "by stream");
    }
  };
  const auto change = [&](Peer& peer, const std::vector<std::string>& keys) {
    talk();  // what is under way was sealed with the old ring
    peer.transport->set_keyring(*Keyring::from_base64(keys));
    talk();
  };
  for (Peer* peer : {&a, &b}) change(*peer, {kTestKey, kOtherKey});
  for (Peer* peer : {&b, &a}) change(*peer, {kOtherKey, kTestKey});
  // Only when nothing is under the old key any more is it taken away.
  REQUIRE(run_until(io, [&] {
    return b.datagrams.size() == sent && a.datagrams.size() == sent && b.accepted.size() == stream;
  }));
  for (Peer* peer : {&a, &b}) change(*peer, {kOtherKey});
  const auto messages = [&] {
    size_t count = 0;
    for (const auto& [id, all] : b.messages) count += all.size();
    return count;
  };
  REQUIRE(run_until(io, [&] {
    return b.datagrams.size() == sent && a.datagrams.size() == sent &&
           messages() == stream * (stream + 1) / 2;
  }));
  CHECK(a.closed.empty());
  CHECK(b.closed.empty());
  CHECK(b.statistics().dropped_unknown_key == 0);
  CHECK(b.statistics().handshakes_failed == 0);
}

TEST_CASE("a datagram over the limit is not sent") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  a.send(b.address(), std::string(membership::kMaxPacket, 'x'));
  a.send(b.address(), std::string(membership::kMaxPacket + 1, 'x'));
  CHECK(a.statistics().send_too_large == 1);
  a.send(*Address::parse("[::1]:9"), "x");  // bound to IPv4
  CHECK(a.statistics().send_failed == 1);
  REQUIRE(run_until(io, [&] { return b.datagrams.size() == 1; }));
}

void refusal_is_reported(const std::string& bind_ip, const std::string& target_ip) {
  asio::io_context io;
  Peer a(io, 1, kTestKey, *Address::from_ip(bind_ip, 0));
  REQUIRE(a.transport != nullptr);
  const Address nobody = closed_port(io, target_ip);
  a.send(nobody, "is anybody there");
  REQUIRE(run_until(io, [&] { return !a.refused.empty(); }));
  CHECK(a.refused[0] == nobody);
  CHECK(a.statistics().refused == 1);
}

TEST_CASE("a port on which nobody listens is reported as refused") {
  refusal_is_reported("127.0.0.1", "127.0.0.1");
  if (!has_ipv6()) return;
  refusal_is_reported("::1", "::1");
  refusal_is_reported("::", "127.0.0.1");
  refusal_is_reported("::", "::1");
}

TEST_CASE("one peer's refusal takes nothing from datagrams to others") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  const Address nobody = closed_port(io);
  for (int i = 0; i < 50; ++i) {
    a.send(nobody, "x");  // its refusal is pending when the next one is sent
    a.send(b.address(), "y");
  }
  CHECK(a.refused.empty());  // no callback inside send()
  REQUIRE(run_until(io, [&] { return b.datagrams.size() == 50; }));
  REQUIRE(run_until(io, [&] { return a.refused.size() == 50; }));
  CHECK(std::all_of(a.refused.begin(), a.refused.end(),
                    [&](const Address& peer) { return peer == nobody; }));
  CHECK(a.statistics().send_failed == 0);
}

TEST_CASE("what one turn has to say goes out together, in its order") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  for (int i = 0; i < 10; ++i) a.transport->send(b.address(), std::to_string(i));
  CHECK(a.statistics().packets_sent == 0);
  CHECK(b.transport->drain(100) == 0);
  a.transport->flush();
  CHECK(a.statistics().packets_sent == 10);
  CHECK(a.statistics().bytes_sent == 10 * (1 + kSealOverhead));
  CHECK(b.transport->drain(100) == 10);
  CHECK(b.deliveries == 1);
  for (size_t i = 0; i < b.datagrams.size(); ++i) CHECK(b.datagrams[i].second == std::to_string(i));
  // More than there is room for does not wait.
  for (int i = 0; i < 100; ++i) a.transport->send(b.address(), std::to_string(i));
  CHECK(a.statistics().packets_sent > 10);
  a.transport->flush();
  a.transport->flush();
  CHECK(a.statistics().packets_sent == 110);
  CHECK(b.transport->drain(1000) == 100);
  CHECK(b.deliveries == 3);
  REQUIRE(b.datagrams.size() == 110);
  CHECK(b.datagrams[109].second == "99");
}

TEST_CASE("a datagram that cannot be sent takes nothing from those beside it") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  const Address far = *Address::parse("192.0.2.1:9");  // the kernel sends nothing there from 127/8
  const Address nobody = closed_port(io);
  for (int i = 0; i < 5; ++i) {
    a.transport->send(far, "x");
    a.transport->send(b.address(), std::to_string(i));
    a.transport->send(nobody, "x");
    a.transport->send(*Address::parse("[::1]:9"), "x");
  }
  a.transport->flush();
  CHECK(a.statistics().packets_sent == 10);
  CHECK(a.statistics().send_failed == 10);
  CHECK(b.transport->drain(100) == 5);
  CHECK(a.refused.empty());  // no callback inside flush()
  REQUIRE(run_until(io, [&] { return a.refused.size() == 5; }));
  CHECK(a.deliveries > 0);
  CHECK(a.statistics().refused == 5);
}

TEST_CASE("drain delivers what is waiting without the loop and not from a callback") {
  asio::io_context io;
  Peer a(io, 1);
  Peer b(io, 2);
  for (int i = 0; i < 200; ++i) a.send(b.address(), std::to_string(i));
  size_t nested = 0;
  b.react_to_datagram = [&] { nested += b.transport->drain(100); };
  CHECK(b.transport->drain(150) == 150);
  CHECK(b.datagrams.size() == 150);
  CHECK(b.transport->drain(1000) == 50);
  CHECK(b.transport->drain(1000) == 0);
  CHECK(nested == 0);
  REQUIRE(b.datagrams.size() == 200);
  CHECK(b.datagrams[199].second == "199");
  CHECK(b.transport->drain(0) == 0);
}

TEST_CASE("drain finds refusals too") {
  asio::io_context io;
  Peer a(io, 1);
  const Address nobody = closed_port(io);
  a.send(nobody, "x");
  CHECK(a.transport->drain(10) == 0);
  CHECK(a.refused == std::vector<Address>{nobody});
}

TEST_CASE("what the kernel had to drop is counted") {
  asio::io_context io;
  TransportLimits limits;
  limits.receive_buffer = 4096;
  Peer a(io, 1);
  Peer b(io, 2, kTestKey, loopback(), limits);
  for (int i = 0; i < 200; ++i) a.send(b.address(), std::string(1000, 'x'));
  b.transport->drain(1000);
  CHECK(b.datagrams.size() < 200);
  a.send(b.address(), "the next one carries the count");
  b.transport->drain(1000);
  CHECK(b.statistics().dropped_by_kernel + b.datagrams.size() == 201);
}

TEST_CASE("sockets are closed on exec") {
  asio::io_context io;
  {
    const Peer warm_up(io, 9);
  }  // the loop takes descriptors of its own
  const size_t before = open_descriptors();
  Peer a(io, 1);
  Peer b(io, 2);
  a.transport->open_stream(1, b.address(), std::chrono::seconds(5));
  REQUIRE(run_until(io, [&] { return !a.opened_streams.empty() && !b.accepted.empty(); }));
  CHECK(open_descriptors() == before + 6);
  for (int fd = 3; fd < 64; ++fd) {
    const int flags = fcntl(fd, F_GETFD);
    int type = 0;
    socklen_t size = sizeof type;
    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) continue;
    CAPTURE(fd, type);
    CHECK((flags & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("no descriptor outlives its transport") {
  asio::io_context io;
  {
    const Peer warm_up(io, 1);
  }
  run_ready(io);
  const size_t before = open_descriptors();
  for (int round = 0; round < 5; ++round) {
    Peer a(io, 1);
    Peer b(io, 2);
    const FileDescriptor stranger = raw_stream(b.address());
    for (membership::StreamId id = 1; id <= 10; ++id) {
      a.transport->open_stream(id, b.address(), std::chrono::seconds(5));
    }
    REQUIRE(run_until(io, [&] { return a.opened_streams.size() == 10; }));
    for (membership::StreamId id = 1; id <= 5; ++id) a.transport->close_stream(id);
    REQUIRE(run_until(io, [&] { return b.closed.size() == 5; }));
    a.transport->open_stream(11, b.address(), std::chrono::seconds(5));  // left in the middle
  }
  run_ready(io);
  CHECK(open_descriptors() == before);
}

}  // namespace
}  // namespace starling::agent
