// SPDX-License-Identifier: Apache-2.0
//
// packet_storm against a transport with a node behind it, as an agent joins them.
#include <spawn.h>
#include <sys/wait.h>

#include <asio/io_context.hpp>
#include <string>
#include <vector>

#include "membership/node.h"
#include "test/catch.h"
#include "test/fuzz/message_maker.h"
#include "test/stand_in_keys.h"
#include "test/unit/net/peer.h"

extern char** environ;

namespace starling::agent {
namespace {

using membership::Node;
using membership::TimePoint;

// Just enough of an agent: what comes in goes to the node, what the node asks for is done.
class Target {
 public:
  explicit Target(asio::io_context& io, TransportLimits limits)
      : node_(options(), identity(), membership::Random(1), now()) {
    transport_ = std::move(*Transport::open(io, loopback(), *Keyring::from_base64({kTestKey}),
                                            identity().id, 1, callbacks(), limits));
  }

  void turn() {
    if (node_.next_deadline() > now()) return;
    transport_->drain(1000);
    node_.advance(now());
    carry_out();
  }
  Node& node() { return node_; }
  Transport& transport() { return *transport_; }

 private:
  static membership::Options options() { return membership::Options::lan(); }
  static membership::Identity identity() {
    membership::Identity identity;
    identity.id.bytes.fill(1);
    identity.keys = std::make_shared<test::StandInKeys>(identity.id);
    identity.name = "target";
    identity.address = loopback(7946);
    return identity;
  }
  static TimePoint now() { return TimePoint(std::chrono::steady_clock::now().time_since_epoch()); }

  Transport::Callbacks callbacks() {
    using membership::Address;
    using membership::StreamEnd;
    using membership::StreamId;
    return {
        .on_datagram = [this](
                           const Address& from,
                           std::string_view plain) { node_.receive_datagram(now(), from, plain); },
        .on_refused = [this](const Address& peer) { node_.datagram_refused(now(), peer); },
        .on_delivered = [this] { carry_out(); },
        .on_accepted =
            [this](StreamId stream, const Address& from) {
              node_.stream_accepted(now(), stream, from);
              carry_out();
            },
        .on_opened =
            [this](StreamId stream) {
              node_.stream_opened(now(), stream);
              carry_out();
            },
        .on_message =
            [this](StreamId stream, std::string_view message) {
              node_.receive_stream(now(), stream, message);
              carry_out();
            },
        .on_closed =
            [this](StreamId stream, StreamEnd end, const std::string&) {
              node_.stream_closed(now(), stream, end);
              carry_out();
            },
    };
  }

  void carry_out() {
    for (membership::Action& action : node_.take_actions()) {
      if (auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
        transport_->send(datagram->to, datagram->bytes);
      } else if (auto* open = std::get_if<membership::OpenStream>(&action)) {
        transport_->open_stream(open->stream, open->to, open->timeout);
      } else if (auto* send = std::get_if<membership::SendStream>(&action)) {
        transport_->send_stream(send->stream, send->bytes);
      } else if (auto* close = std::get_if<membership::CloseStream>(&action)) {
        transport_->close_stream(close->stream);
      }
    }
    transport_->flush();
  }

  Node node_;
  std::unique_ptr<Transport> transport_;
};

pid_t start_storm(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), PACKET_STORM);
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, PACKET_STORM, nullptr, nullptr, words.data(), environ) == 0);
  return child;
}

void storm(const std::string& key, asio::io_context& io, Target& target) {
  const pid_t child =
      start_storm({"--target", target.transport().local_address().to_string(), "--packets", "20000",
                   "--streams", "200", "--rate", "20000", "--seed", "4", "--key", key});
  int status = 0;
  const bool ended = run_until(io, [&] {
    target.turn();
    return waitpid(child, &status, WNOHANG) == child;
  });
  if (!ended) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  REQUIRE(ended);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a storm from somebody with the key leaves the node as it was") {
  asio::io_context io;
  fuzz::silence_protobuf();
  TransportLimits limits;
  limits.handshake_timeout = std::chrono::milliseconds(500);
  Target target(io, limits);
  storm(kTestKey, io, target);
  const auto statistics = target.transport().statistics();
  CHECK(statistics.packets_received > 1000);
  CHECK(statistics.dropped_forged > 0);
  CHECK(statistics.dropped_replayed > 0);
  CHECK(statistics.dropped_malformed > 0);
  CHECK(statistics.dropped_too_large > 0);
  CHECK(statistics.streams_accepted > 50);
  CHECK(statistics.handshakes_failed > 20);
  CHECK(target.node().statistics().malformed_packets > 0);
  CHECK(target.node().members().size() == 1);
  CHECK(target.node().events_held() == 0);
  CHECK(target.node().statistics().events_accepted == 0);
  REQUIRE(run_until(io, [&] {
    target.turn();
    return target.transport().statistics().streams_now == 0;
  }));
}

TEST_CASE("a storm from somebody without the key does not reach the node") {
  asio::io_context io;
  Target target(io, {});
  storm(kOtherKey, io, target);
  const auto statistics = target.transport().statistics();
  CHECK(statistics.packets_received == 0);
  CHECK(statistics.dropped_unknown_key > 1000);
  CHECK(statistics.streams_accepted == 0);
  CHECK(statistics.handshakes_unknown_key > 0);
  CHECK(target.node().statistics().packets_received == 0);
}

TEST_CASE("packet_storm says how it is used") {
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{}, {"--target"}, {"--target", "nowhere"}, {"--packets", "x"}}) {
    int status = 0;
    REQUIRE(waitpid(start_storm(wrong), &status, 0) > 0);
    CHECK(WEXITSTATUS(status) == 2);
  }
}

}  // namespace
}  // namespace starling::agent
