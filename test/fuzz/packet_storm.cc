// SPDX-License-Identifier: Apache-2.0
//
// Throws malformed datagrams and streams at one agent, as a stranger and as somebody who holds the
// cluster key. See --help. For end-to-end tests, which watch the agent meanwhile.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/net/keyring.h"
#include "agent/net/seal.h"
#include "agent/net/socket.h"
#include "agent/net/stream_codec.h"
#include "test/fuzz/message_maker.h"

namespace {

using starling::agent::FileDescriptor;
using starling::agent::Keyring;
using starling::agent::PacketSealer;
using starling::agent::StreamCodec;
using starling::fuzz::MessageMaker;
using starling::membership::Address;
using starling::membership::NodeId;
using starling::membership::Random;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kUsage =
    "usage: packet_storm --target IP:PORT [--key BASE64] [--packets N] [--streams M]\n"
    "                    [--seed S] [--rate PER_SECOND] [--plausible]\n"
    "\n"
    "Sends N malformed datagrams and opens M malformed streams to an agent: random bytes, sealed\n"
    "ones that were cut or changed, sealed noise, and sealed messages with absurd contents. The\n"
    "same seed makes the same contents. Without --key: seals as agents without a cluster key do.\n"
    "--rate bounds datagrams per second (default: as fast as the socket takes them).\n"
    "--plausible lets records about members that do not exist be well-formed.\n"
    "\n"
    "example: packet_storm --target 127.0.0.1:7946 --packets 100000 --streams 1000 --seed 1\n";

struct Arguments {
  Address target;
  std::string key;
  uint64_t packets = 1000;
  uint64_t streams = 10;
  uint64_t seed = 1;
  uint64_t rate = 0;
  bool plausible = false;
};

bool parse_number(std::string_view text, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  bool has_target = false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--plausible") {
      arguments.plausible = true;
      continue;
    }
    if (i + 1 == words.size()) return std::nullopt;
    const std::string_view name = words[i];
    const std::string_view value = words[++i];
    if (name == "--target") {
      const auto target = Address::parse(value);
      if (!target) return std::nullopt;
      arguments.target = *target;
      has_target = true;
    } else if (name == "--key") {
      arguments.key = value;
    } else if (uint64_t* number = name == "--packets"   ? &arguments.packets
                                  : name == "--streams" ? &arguments.streams
                                  : name == "--seed"    ? &arguments.seed
                                  : name == "--rate"    ? &arguments.rate
                                                        : nullptr;
               number == nullptr || !parse_number(value, *number)) {
      return std::nullopt;
    }
  }
  if (!has_target) return std::nullopt;
  return arguments;
}

struct Summary {
  uint64_t packets = 0;
  uint64_t packets_failed = 0;
  uint64_t packet_bytes = 0;
  uint64_t streams = 0;
  uint64_t streams_failed = 0;
  uint64_t handshakes = 0;
};

class Storm {
 public:
  Storm(const Arguments& arguments, const Keyring& keyring)
      : arguments_(arguments),
        keyring_(keyring),
        maker_(Random(arguments.seed), arguments.plausible ? MessageMaker::Claims::kPlausible
                                                           : MessageMaker::Claims::kAbsurd) {}

  Summary run();

 private:
  // Streams that stay open until the storm is over, to sit on the agent's limits.
  static constexpr size_t kHeld = 32;
  static constexpr uint64_t kPacketsPerSender = 500;

  std::string packet();
  void send_packet(const FileDescriptor& socket);
  void pace() const;
  void one_stream();
  void shaken_hands(FileDescriptor fd);
  std::string messages(StreamCodec& codec);
  FileDescriptor connect();
  static bool write(const FileDescriptor& fd, std::string_view bytes);
  static std::string read(const FileDescriptor& fd);
  void hold(FileDescriptor fd);
  size_t below(size_t bound) { return maker_.random().below(bound); }

  const Arguments& arguments_;
  const Keyring& keyring_;
  MessageMaker maker_;
  std::optional<PacketSealer> sealer_;
  uint64_t sealer_left_ = 0;
  std::string last_sealed_;
  std::deque<FileDescriptor> held_;
  Summary summary_;
  Clock::time_point started_ = Clock::now();
};

std::string Storm::packet() {
  if (sealer_left_-- == 0) {
    NodeId sender;
    const std::string id = maker_.bytes(NodeId::kSize);
    sender = *NodeId::from_wire(id);
    sealer_.emplace(keyring_, sender, static_cast<uint32_t>(maker_.random()()), 1);
    sealer_left_ = kPacketsPerSender;
  }
  const auto sealed = [&](std::string plain) {
    if (plain.size() > starling::membership::kMaxPacket) {
      plain.resize(starling::membership::kMaxPacket);
    }
    return last_sealed_ = sealer_->seal(plain);
  };
  switch (below(8)) {
    case 0:
      return maker_.bytes(below(1400));
    case 1: {  // looks like one of ours
      std::string bytes = maker_.bytes(below(1300));
      if (!bytes.empty()) bytes[0] = static_cast<char>(starling::agent::kPacketVersion);
      if (bytes.size() > 1) bytes[1] = static_cast<char>(keyring_.id(0)[0]);
      return bytes;
    }
    case 2: {
      std::string bytes = sealed(maker_.packet());
      maker_.damage(bytes);
      return bytes;
    }
    case 3:
      return last_sealed_;  // replayed, or empty
    case 4:
      return sealed(maker_.bytes(below(starling::membership::kMaxPacket)));
    case 5:
      return sealed(maker_.packet());
    default: {
      std::string plain = maker_.packet();
      maker_.damage(plain);
      return sealed(plain);
    }
  }
}

void Storm::send_packet(const FileDescriptor& socket) {
  const std::string bytes = packet();
  const auto to = starling::agent::to_socket_address(arguments_.target,
                                                     starling::agent::family_of(arguments_.target));
  if (sendto(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL, to->get(), to->size) < 0) {
    ++summary_.packets_failed;
    return;
  }
  ++summary_.packets;
  summary_.packet_bytes += bytes.size();
}

void Storm::pace() const {
  if (arguments_.rate == 0) return;
  const auto due = std::chrono::duration<double>(static_cast<double>(summary_.packets) /
                                                 static_cast<double>(arguments_.rate));
  std::this_thread::sleep_until(started_ + std::chrono::duration_cast<Clock::duration>(due));
}

Summary Storm::run() {
  const FileDescriptor udp(
      socket(starling::agent::family_of(arguments_.target), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // Both kinds take turns, in proportion.
  uint64_t streams = 0;
  for (uint64_t packets = 0; packets < arguments_.packets; ++packets) {
    while (streams * arguments_.packets < packets * arguments_.streams) {
      one_stream();
      ++streams;
    }
    send_packet(udp);
    pace();
  }
  for (; streams < arguments_.streams; ++streams) one_stream();
  return summary_;
}

FileDescriptor Storm::connect() {
  const int family = starling::agent::family_of(arguments_.target);
  FileDescriptor fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience = {.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const auto to = starling::agent::to_socket_address(arguments_.target, family);
  if (::connect(fd.get(), to->get(), to->size) != 0) return {};
  return fd;
}

bool Storm::write(const FileDescriptor& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

// Some bytes; empty when the other side has closed or is silent.
std::string Storm::read(const FileDescriptor& fd) {
  std::string buffer(4096, '\0');
  const ssize_t count = recv(fd.get(), buffer.data(), buffer.size(), 0);
  buffer.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return buffer;
}

void Storm::hold(FileDescriptor fd) {
  held_.push_back(std::move(fd));
  if (held_.size() > kHeld) held_.pop_front();
}

void Storm::one_stream() {
  FileDescriptor fd = connect();
  if (!fd) {
    ++summary_.streams_failed;
    return;
  }
  ++summary_.streams;
  StreamCodec stranger(keyring_, StreamCodec::Role::kOpener);
  std::string hello;
  stranger.take_handshake(hello);
  switch (below(10)) {
    case 0:
      write(fd, maker_.bytes(below(5000)));
      break;
    case 1:
      write(fd, std::string_view(hello).substr(0, below(hello.size())));
      break;
    case 2:  // another key, or another version
      hello[4 + below(9)] ^= 0x55;
      write(fd, hello);
      break;
    case 3:
      write(fd, hello + maker_.bytes(below(5000)));
      break;
    case 4: {  // closed at once, half of the time with a reset
      const linger reset = {.l_onoff = 1, .l_linger = 0};
      if (below(2) == 0) setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      break;
    }
    case 5:  // slow, then silent
      for (size_t i = 0; i < 10; ++i) {
        write(fd, hello.substr(i, 1));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      hold(std::move(fd));
      break;
    default:
      shaken_hands(std::move(fd));
  }
}

void Storm::shaken_hands(FileDescriptor fd) {
  StreamCodec codec(keyring_, StreamCodec::Role::kOpener);
  std::string out;
  codec.take_handshake(out);
  write(fd, out);
  for (int turns = 0; turns < 10 && !codec.established(); ++turns) {
    const std::string answer = read(fd);
    if (answer.empty()) return;
    codec.receive(answer);
    if (codec.next() == StreamCodec::Event::kFailed) return;
    out.clear();
    codec.take_handshake(out);
    write(fd, out);
  }
  if (!codec.established()) return;
  ++summary_.handshakes;
  out = messages(codec);
  switch (below(6)) {
    case 0:
      out += std::string("\x7f\xff\xff\xff", 4);
      break;
    case 1:
      out.resize(below(out.size() + 1));
      break;
    case 2:
      maker_.damage(out);
      break;
    default:
      break;
  }
  write(fd, out);
  if (below(3) == 0) {
    hold(std::move(fd));
  } else if (below(2) == 0) {
    shutdown(fd.get(), SHUT_WR);  // and see what it has to say
    read(fd);
  }
}

std::string Storm::messages(StreamCodec& codec) {
  std::string out;
  for (size_t i = 1 + below(8); i > 0; --i) {
    std::string message = maker_.stream_message();
    const size_t what = below(20);
    if (what < 10) maker_.damage(message);
    if (what == 19) message = maker_.bytes(below(starling::membership::kMaxStreamMessage));
    if (what == 18) message.assign(starling::membership::kMaxStreamMessage, '\x0a');
    if (message.size() > starling::membership::kMaxStreamMessage) continue;
    codec.seal(message, out);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  for (const std::string_view word : words) {
    if (word == "--help" || word == "-h") {
      std::fputs(kUsage.data(), stdout);
      return 0;
    }
  }
  const auto arguments = parse(words);
  if (!arguments) {
    std::fputs(kUsage.data(), stderr);
    return 2;
  }
  auto keyring = arguments->key.empty() ? starling::Result<Keyring>(Keyring::insecure())
                                        : Keyring::from_base64({arguments->key});
  if (!keyring) {
    std::fprintf(stderr, "packet_storm: %s\n", keyring.error().message.c_str());
    return 2;
  }
  starling::fuzz::silence_protobuf();
  const Summary summary = Storm(*arguments, *keyring).run();
  std::printf(
      "packet_storm: seed %llu: %llu packets (%llu bytes), %llu not sent; %llu streams, %llu with "
      "a full handshake, %llu not connected\n",
      static_cast<unsigned long long>(arguments->seed),
      static_cast<unsigned long long>(summary.packets),
      static_cast<unsigned long long>(summary.packet_bytes),
      static_cast<unsigned long long>(summary.packets_failed),
      static_cast<unsigned long long>(summary.streams),
      static_cast<unsigned long long>(summary.handshakes),
      static_cast<unsigned long long>(summary.streams_failed));
  return 0;
}
