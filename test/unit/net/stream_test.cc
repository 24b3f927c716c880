// SPDX-License-Identifier: Apache-2.0
//
// Streams as a Transport carries them, between two of them and against strangers.
#include "agent/net/stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <asio/post.hpp>

#include "test/catch.h"
#include "test/unit/net/peer.h"

namespace starling::agent {
namespace {

using membership::Address;
using membership::StreamEnd;
using membership::StreamId;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kTimeout = seconds(10);

struct Pair {
  explicit Pair(asio::io_context& context, TransportLimits limits = {})
      : io(context),
        a(io, 1, kTestKey, loopback(), limits),
        b(io, 2, kTestKey, loopback(), limits) {}

  // Opens stream 1 of a; returns b's id of it.
  StreamId open() {
    a.transport->open_stream(1, b.address(), kTimeout);
    REQUIRE(run_until(io, [&] { return !a.opened_streams.empty() && !b.accepted.empty(); }));
    return b.accepted[0].first;
  }

  asio::io_context& io;
  Peer a;
  Peer b;
};

TEST_CASE("a message of the largest size crosses both ways") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  CHECK(accepted >= membership::kFirstAcceptedStream);
  std::string large(membership::kMaxStreamMessage, 'x');
  for (size_t i = 0; i < large.size(); i += 997) large[i] = static_cast<char>(i);
  pair.a.transport->send_stream(1, large);
  pair.b.transport->send_stream(accepted, large);
  REQUIRE(run_until(io, [&] { return !pair.a.messages.empty() && !pair.b.messages.empty(); }));
  CHECK(pair.a.messages[1][0] == large);
  CHECK(pair.b.messages[accepted][0] == large);
  CHECK(pair.a.closed.empty());
  CHECK(pair.a.statistics().stream_messages_sent == 1);
  CHECK(pair.b.statistics().stream_messages_received == 1);
}

TEST_CASE("what was sent before a close arrives and the close is seen by the other side alone") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  const std::string large(1U << 20, 'x');
  pair.b.transport->send_stream(accepted, "unread by a");  // would make a plain close a reset
  for (int i = 0; i < 3; ++i) pair.a.transport->send_stream(1, large);
  pair.a.transport->close_stream(1);
  pair.a.transport->close_stream(1);
  pair.a.transport->send_stream(1, "after the close");
  REQUIRE(run_until(io, [&] { return !pair.b.closed.empty(); }));
  CHECK(pair.b.messages[accepted].size() == 3);
  CHECK(pair.b.closed[0].stream == accepted);
  CHECK(pair.b.closed[0].end == StreamEnd::kClosed);
  REQUIRE(run_until(io, [&] { return pair.a.statistics().streams_now == 0; }));
  CHECK(pair.a.closed.empty());
  CHECK(pair.a.messages.empty());
  CHECK(pair.b.statistics().streams_now == 0);
}

TEST_CASE("messages sent before the stream is open wait for it") {
  asio::io_context io;
  Pair pair(io);
  pair.a.transport->open_stream(1, pair.b.address(), kTimeout);
  pair.a.transport->send_stream(1, "first");
  pair.a.transport->send_stream(1, "second");
  REQUIRE(run_until(io, [&] { return !pair.b.messages.empty(); }));
  const StreamId accepted = pair.b.accepted[0].first;
  REQUIRE(run_until(io, [&] { return pair.b.messages[accepted].size() == 2; }));
  CHECK(pair.b.messages[accepted] == std::vector<std::string>{"first", "second"});
}

TEST_CASE("calls for streams that do not exist are ignored") {
  asio::io_context io;
  Peer a(io, 1);
  a.transport->send_stream(7, "x");
  a.transport->close_stream(7);
  a.transport->close_stream(membership::kFirstAcceptedStream);
  run_ready(io);
  CHECK(a.closed.empty());
}

TEST_CASE("a stream closed from its own message is not delivered more") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  pair.b.react_to_message = [&](StreamId stream) { pair.b.transport->close_stream(stream); };
  for (int i = 0; i < 5; ++i) pair.a.transport->send_stream(1, "x");
  REQUIRE(run_until(io, [&] { return !pair.a.closed.empty(); }));
  CHECK(pair.b.messages[accepted].size() == 1);
  CHECK(pair.b.closed.empty());
}

TEST_CASE("many messages of one stream let others have their turn in between") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  constexpr size_t kMessages = 180;
  size_t before_others = 0;
  pair.b.react_to_message = [&](StreamId) {
    if (pair.b.messages[accepted].size() > 1) return;
    asio::post(io, [&] { before_others = pair.b.messages[accepted].size(); });
  };
  for (size_t i = 0; i < kMessages; ++i) pair.a.transport->send_stream(1, std::string(1024, 'x'));
  REQUIRE(run_until(io, [&] { return pair.b.messages[accepted].size() == kMessages; }));
  CHECK(before_others > 0);
  CHECK(before_others <= 64);  // 64 KiB
}

TEST_CASE("why a stream was not opened is told apart") {
  asio::io_context io;
  Peer a(io, 1);
  SECTION("nobody listens") {
    Address nobody;
    {
      const Peer gone(io, 9);
      nobody = gone.address();
    }
    a.transport->open_stream(1, nobody, kTimeout);
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kRefused);
    CHECK(a.closed[0].why.find(nobody.to_string()) != std::string::npos);
  }
  SECTION("no answer in time") {
    // The kernel connects for it, and then nobody speaks.
    const BoundSockets silent = *bind_sockets(loopback(), 0);
    a.transport->open_stream(1, silent.address, milliseconds(50));
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kUnreachable);
    CHECK(a.closed[0].why.find("timed out") != std::string::npos);
  }
  SECTION("another key") {
    Peer b(io, 2, kOtherKey);
    a.transport->open_stream(1, b.address(), kTimeout);
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kProtocol);
    CHECK(a.closed[0].why.find("another key") != std::string::npos);
    REQUIRE(run_until(io, [&] { return b.statistics().handshakes_unknown_key == 1; }));
    CHECK(b.accepted.empty());
    CHECK(b.closed.empty());
  }
  SECTION("one side has a key and the other none") {
    Peer b(io, 2, "");
    a.transport->open_stream(1, b.address(), kTimeout);
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kProtocol);
    CHECK(a.closed[0].why.find("another key") != std::string::npos);
  }
  SECTION("an address of another family") {
    a.transport->open_stream(1, *Address::parse("[::1]:9"), kTimeout);
    CHECK(a.closed.empty());  // never inside the call
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kUnreachable);
    CHECK(a.closed[0].why.find("IPv4 only") != std::string::npos);
  }
  REQUIRE(a.closed.size() == 1);
  CHECK(a.opened_streams.empty());
  CHECK(a.statistics().streams_failed == 1);
  CHECK(a.statistics().streams_now == 0);
}

TEST_CASE("a stream to oneself has two ends") {
  asio::io_context io;
  Peer a(io, 1);
  a.transport->open_stream(1, a.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return !a.opened_streams.empty() && !a.accepted.empty(); }));
  a.transport->send_stream(1, "to me");
  REQUIRE(run_until(io, [&] { return !a.messages[a.accepted[0].first].empty(); }));
}

TEST_CASE("a stream given up before it is open is not reported") {
  asio::io_context io;
  Peer a(io, 1);
  const BoundSockets silent = *bind_sockets(loopback(), 0);
  a.transport->open_stream(1, silent.address, kTimeout);
  a.transport->close_stream(1);
  REQUIRE(run_until(io, [&] { return a.statistics().streams_now == 0; }));
  CHECK(a.closed.empty());
}

TEST_CASE("the loss of a peer is reported on both kinds of stream") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  SECTION("the opener goes") {
    pair.a.transport.reset();
    REQUIRE(run_until(io, [&] { return !pair.b.closed.empty(); }));
    CHECK(pair.b.closed[0].stream == accepted);
    CHECK(pair.b.closed[0].end == StreamEnd::kClosed);
  }
  SECTION("the accepter goes") {
    pair.b.transport.reset();
    REQUIRE(run_until(io, [&] { return !pair.a.closed.empty(); }));
    CHECK(pair.a.closed[0].stream == 1);
  }
}

TEST_CASE("a reader that is too slow loses its stream and not our memory") {
  asio::io_context io;
  TransportLimits limits;
  limits.stream_output = 1U << 20;
  Peer a(io, 1, kTestKey, loopback(), limits);
  asio::io_context stopped;  // its loop is not turned once the stream is open
  Peer b(stopped, 2);
  a.transport->open_stream(1, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] {
    run_ready(stopped);
    return !a.opened_streams.empty();
  }));
  const std::string chunk(256U << 10, 'x');
  int sent = 0;
  for (; sent < 1000 && a.statistics().stream_output_full == 0; ++sent) {
    a.transport->send_stream(1, chunk);
    CHECK(a.closed.empty());
  }
  CHECK(sent < 1000);
  REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
  CHECK(a.closed[0].end == StreamEnd::kClosed);
  CHECK(a.closed[0].why.find("too slowly") != std::string::npos);
}

TEST_CASE("a stream on which nothing moves is closed") {
  asio::io_context io;
  TransportLimits limits;
  limits.idle_timeout = milliseconds(60);
  Pair pair(io, limits);
  const auto start = std::chrono::steady_clock::now();
  pair.open();
  REQUIRE(run_until(io, [&] { return !pair.a.closed.empty() && !pair.b.closed.empty(); }));
  // The idle time counts, not the longer one that the handshake had.
  CHECK(std::chrono::steady_clock::now() - start < limits.handshake_timeout - seconds(1));
  CHECK(pair.a.statistics().stream_idle + pair.b.statistics().stream_idle >= 1);
}

TEST_CASE("own streams are bounded and the one too many is told so") {
  asio::io_context io;
  TransportLimits limits;
  limits.streams = 3;
  Peer a(io, 1, kTestKey, loopback(), limits);
  Peer b(io, 2);
  for (StreamId id = 1; id <= 4; ++id) a.transport->open_stream(id, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return a.opened_streams.size() == 3 && !a.closed.empty(); }));
  CHECK(a.closed[0].stream == 4);
  CHECK(a.closed[0].end == StreamEnd::kUnreachable);
  CHECK(a.statistics().stream_limit == 1);
  a.transport->close_stream(1);
  REQUIRE(run_until(io, [&] { return a.statistics().streams_now == 2; }));
  a.transport->open_stream(5, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return a.opened_streams.size() == 4; }));
}

TEST_CASE("accepted streams are bounded too") {
  asio::io_context io;
  TransportLimits limits;
  limits.streams = 2;
  Peer a(io, 1);
  Peer b(io, 2, kTestKey, loopback(), limits);
  for (StreamId id = 1; id <= 3; ++id) a.transport->open_stream(id, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
  CHECK(b.accepted.size() == 2);
  CHECK(b.statistics().stream_limit == 1);
}

// --- connecting and no more ---

TEST_CASE("a check tells whether a port can be connected to, and leaves nothing behind") {
  asio::io_context io;
  Peer a(io, 1);
  SECTION("an agent listens") {
    Peer b(io, 2);
    for (StreamId id = 1; id <= 3; ++id) {
      a.transport->open_stream(id, b.address(), kTimeout, StreamGoal::kConnect);
    }
    REQUIRE(run_until(io, [&] { return a.statistics().streams_now == 0; }));
    REQUIRE(a.opened_streams.size() == 3);
    CHECK(a.statistics().streams_checked == 3);
    CHECK(a.statistics().streams_opened == 0);
    CHECK(a.statistics().streams_failed == 0);
    // Connections are taken in the order in which they came: what came before this one is over.
    a.transport->open_stream(9, b.address(), kTimeout);
    REQUIRE(run_until(io, [&] { return a.opened_streams.size() == 4 && !b.accepted.empty(); }));
    CHECK(b.statistics().handshakes_failed == 0);
    CHECK(b.statistics().streams_now == 1);
    CHECK(b.closed.empty());
    CHECK(a.statistics().streams_opened == 1);
    CHECK(a.closed.empty());
  }
  SECTION("the other side does not get to see it, and not a byte is sent") {
    const BoundSockets silent = *bind_sockets(loopback(), 0);
    a.transport->open_stream(1, silent.address, kTimeout, StreamGoal::kConnect);
    REQUIRE(run_until(io, [&] { return a.statistics().streams_now == 0; }));
    CHECK(a.opened_streams == std::vector<StreamId>{1});
    CHECK(a.statistics().stream_bytes_sent == 0);
    CHECK(accept4(silent.listener.get(), nullptr, nullptr, SOCK_NONBLOCK) < 0);
  }
  SECTION("nobody listens") {
    Address nobody;
    {
      const BoundSockets gone = *bind_sockets(loopback(), 0);
      nobody = gone.address;
    }
    a.transport->open_stream(1, nobody, kTimeout, StreamGoal::kConnect);
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kRefused);
    CHECK(a.opened_streams.empty());
    CHECK(a.statistics().streams_failed == 1);
    CHECK(a.statistics().streams_checked == 0);
  }
  SECTION("no answer in time") {
    // A listener whose queue is full drops what would be one more.
    const BoundSockets full = *bind_sockets(loopback(), 0);
    REQUIRE(listen(full.listener.get(), 0) == 0);
    const FileDescriptor waiting = raw_stream(full.address);
    a.transport->open_stream(1, full.address, milliseconds(50), StreamGoal::kConnect);
    REQUIRE(run_until(io, [&] { return !a.closed.empty(); }));
    CHECK(a.closed[0].end == StreamEnd::kUnreachable);
    CHECK(a.opened_streams.empty());
  }
}

void reset(FileDescriptor& connection) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  connection.reset();
}

TEST_CASE("a connection that is reset without a byte is no failed handshake") {
  asio::io_context io;
  Peer peer(io, 1);
  FileDescriptor connection = raw_stream(peer.address());
  SECTION("before it is taken") {
    reset(connection);
    REQUIRE(run_until(io, [&] { return peer.statistics().streams_reset == 1; }));
    CHECK(peer.statistics().handshakes_failed == 0);
  }
  SECTION("after our hello has gone out") {
    std::string hello;
    REQUIRE(run_until(io, [&] {
      raw_closed(connection, hello);
      return hello.size() == kStreamHelloSize;
    }));
    reset(connection);
    REQUIRE(run_until(io, [&] { return peer.statistics().streams_reset == 1; }));
    CHECK(peer.statistics().handshakes_failed == 0);
  }
  SECTION("but with one it is") {
    REQUIRE(raw_send(connection, "S"));
    REQUIRE(run_until(io, [&] { return peer.statistics().stream_bytes_received == 1; }));
    reset(connection);
    REQUIRE(run_until(io, [&] { return peer.statistics().handshakes_failed == 1; }));
    CHECK(peer.statistics().streams_reset == 0);
  }
  SECTION("and so is one that ends in order") {
    connection.reset();
    REQUIRE(run_until(io, [&] { return peer.statistics().handshakes_failed == 1; }));
    CHECK(peer.statistics().streams_reset == 0);
  }
  CHECK(peer.statistics().streams_now == 0);
  CHECK(peer.closed.empty());
}

// --- strangers ---

TEST_CASE("strangers who say nothing are closed after the handshake time") {
  asio::io_context io;
  TransportLimits limits;
  limits.handshake_timeout = milliseconds(60);
  Peer peer(io, 1, kTestKey, loopback(), limits);
  const FileDescriptor silent = raw_stream(peer.address());
  const FileDescriptor dripping = raw_stream(peer.address());
  // Each byte on its own does not buy more time.
  size_t dripped = 0;
  const std::string drip = "STRL\x01" + std::string(30, 'x');
  REQUIRE(run_until(io, [&] {
    if (dripped < 30) raw_send(dripping, {&drip[dripped++], 1});
    return raw_closed(silent) && raw_closed(dripping);
  }));
  run_ready(io);
  CHECK(peer.statistics().handshakes_failed == 2);
  CHECK(peer.statistics().streams_now == 0);
  CHECK(peer.accepted.empty());
  CHECK(peer.closed.empty());
}

TEST_CASE("silent strangers do not keep members out") {
  asio::io_context io;
  TransportLimits limits;
  limits.handshakes = 4;
  limits.handshake_grace = milliseconds(10);
  limits.handshake_timeout = seconds(60);
  Peer a(io, 1);
  Peer b(io, 2, kTestKey, loopback(), limits);
  std::vector<FileDescriptor> strangers(20);
  for (FileDescriptor& stranger : strangers) stranger = raw_stream(b.address());
  REQUIRE(run_until(io, [&] { return b.statistics().handshake_limit == 16; }));
  CHECK(b.statistics().streams_now == 4);
  CHECK(raw_closed(strangers.front()));
  CHECK_FALSE(raw_closed(strangers.back()));
  a.transport->open_stream(1, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return !a.opened_streams.empty() && !b.accepted.empty(); }));
  CHECK(b.statistics().streams_now == 4);  // three strangers and the member
}

TEST_CASE("members that come at once do not push each other out") {
  asio::io_context io;
  TransportLimits limits;
  limits.handshakes = 4;
  limits.handshake_grace = seconds(60);
  Peer a(io, 1);
  Peer b(io, 2, kTestKey, loopback(), limits);
  constexpr StreamId kMembers = 40;
  for (StreamId i = 1; i <= kMembers; ++i) a.transport->open_stream(i, b.address(), kTimeout);
  REQUIRE(run_until(io, [&] { return b.accepted.size() + a.closed.size() == kMembers; }));
  CHECK(a.closed.empty());
  CHECK(b.statistics().handshake_limit == 0);
}

TEST_CASE("garbage from strangers ends their stream and nothing else") {
  asio::io_context io;
  Pair pair(io);
  const StreamId accepted = pair.open();
  std::vector<FileDescriptor> strangers;
  const Keyring keyring = *Keyring::from_base64({kTestKey});
  StreamCodec codec(keyring, StreamCodec::Role::kOpener);
  std::string hello;
  codec.take_handshake(hello);
  const std::vector<std::string> says = {
      "GET / HTTP/1.1\r\n\r\n",
      std::string(100'000, '\0'),
      hello + std::string(100'000, 'x'),
      hello + std::string("\xff\xff\xff\xff", 4),
      hello + std::string("\0\0\0\x10", 4) + std::string(16, 'x'),
  };
  for (const std::string& bytes : says) {
    strangers.push_back(raw_stream(pair.b.address()));
    REQUIRE(raw_send(strangers.back(), bytes));
  }
  REQUIRE(run_until(io, [&] {
    return std::all_of(strangers.begin(), strangers.end(),
                       [](const FileDescriptor& fd) { return raw_closed(fd); });
  }));
  run_ready(io);
  CHECK(pair.b.statistics().handshakes_failed == says.size());
  CHECK(pair.b.statistics().stream_forged == 3);
  CHECK(pair.b.accepted.size() == 1);
  pair.a.transport->send_stream(1, "still here");
  REQUIRE(run_until(io, [&] { return !pair.b.messages[accepted].empty(); }));
}

// A member's view of a handshake, done by hand over a plain socket.
struct HandMade {
  HandMade(asio::io_context& io, const Address& to)
      : keyring(*Keyring::from_base64({kTestKey})),
        codec(keyring, StreamCodec::Role::kOpener),
        fd(raw_stream(to)) {
    std::string out;
    codec.take_handshake(out);
    REQUIRE(raw_send(fd, out));
    REQUIRE(run_until(io, [&] {
      std::string in;
      raw_closed(fd, in);
      codec.receive(in);
      codec.next();
      out.clear();
      codec.take_handshake(out);
      if (!out.empty()) raw_send(fd, out);
      return codec.established();
    }));
  }
  Keyring keyring;
  StreamCodec codec;
  FileDescriptor fd;
};

TEST_CASE("a member that breaks the rules loses its stream as a protocol error") {
  asio::io_context io;
  Peer peer(io, 1);
  HandMade member(io, peer.address());
  REQUIRE(run_until(io, [&] { return !peer.accepted.empty(); }));
  std::string frame;
  member.codec.seal("good", frame);
  SECTION("a length over the limit") {
    frame += std::string("\x7f\xff\xff\xff", 4);
  }
  SECTION("a damaged frame") {
    member.codec.seal("bad", frame);
    frame.back() = static_cast<char>(frame.back() ^ 1);
  }
  REQUIRE(raw_send(member.fd, frame));
  REQUIRE(run_until(io, [&] { return !peer.closed.empty(); }));
  CHECK(peer.messages[peer.accepted[0].first] == std::vector<std::string>{"good"});
  CHECK(peer.closed[0].end == StreamEnd::kProtocol);
  CHECK(peer.statistics().stream_forged == 1);
}

TEST_CASE("a stream cut within a message is closed and the half message is not delivered") {
  asio::io_context io;
  Peer peer(io, 1);
  HandMade member(io, peer.address());
  std::string frame;
  member.codec.seal("whole", frame);
  const size_t whole = frame.size();
  member.codec.seal("half", frame);
  REQUIRE(raw_send(member.fd, std::string_view(frame).substr(0, whole + 10)));
  member.fd.reset();
  REQUIRE(run_until(io, [&] { return !peer.closed.empty(); }));
  CHECK(peer.messages[peer.accepted[0].first] == std::vector<std::string>{"whole"});
  CHECK(peer.closed[0].end == StreamEnd::kClosed);
  CHECK(peer.closed[0].why.find("within a message") != std::string::npos);
}

TEST_CASE("the bytes of a captured stream open nothing") {
  asio::io_context io;
  Peer peer(io, 1);
  const Keyring keyring = *Keyring::from_base64({kTestKey});
  StreamCodec genuine(keyring, StreamCodec::Role::kOpener);
  StreamCodec other(keyring, StreamCodec::Role::kAccepter);
  std::string captured;
  std::string answer;
  genuine.take_handshake(captured);
  other.take_handshake(answer);
  genuine.receive(answer);
  genuine.next();
  genuine.take_handshake(captured);
  genuine.seal("do it", captured);
  const FileDescriptor attacker = raw_stream(peer.address());
  REQUIRE(raw_send(attacker, captured));
  REQUIRE(run_until(io, [&] { return raw_closed(attacker); }));
  run_ready(io);
  CHECK(peer.accepted.empty());
  CHECK(peer.messages.empty());
  CHECK(peer.statistics().stream_forged == 1);
}

TEST_CASE("a member that never takes our bytes is let go after the flush time") {
  asio::io_context io;
  TransportLimits limits;
  limits.flush_timeout = milliseconds(60);
  Peer peer(io, 1, kTestKey, loopback(), limits);
  const HandMade member(io, peer.address());
  REQUIRE(run_until(io, [&] { return !peer.accepted.empty(); }));
  const StreamId stream = peer.accepted[0].first;
  for (int i = 0; i < 3; ++i) peer.transport->send_stream(stream, std::string(1U << 20, 'x'));
  peer.transport->close_stream(stream);
  REQUIRE(run_until(io, [&] { return peer.statistics().streams_now == 0; }));
  CHECK(peer.closed.empty());
}

}  // namespace
}  // namespace starling::agent
