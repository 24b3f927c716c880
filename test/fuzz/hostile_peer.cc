// SPDX-License-Identifier: Apache-2.0
//
// A peer that knows the cluster key and means harm, for the end-to-end tests, which watch the agent
// meanwhile. See --help.
#include <sys/socket.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "agent/net/keyring.h"
#include "agent/net/seal.h"
#include "agent/net/socket.h"
#include "agent/net/stream_codec.h"
#include "membership/gossip/origins.h"
#include "membership/signatures.h"
#include "membership/wire.h"
#include "proto/gossip.pb.h"
#include "test/fuzz/message_maker.h"

namespace {

using namespace starling;  // NOLINT(google-build-using-namespace)
using agent::FileDescriptor;
using agent::Keyring;
using agent::PacketSealer;
using agent::StreamCodec;
using membership::Address;
using membership::MessageId;
using membership::NodeId;

constexpr std::string_view kUsage =
    "usage: hostile_peer --target IP:PORT --key BASE64 --attack NAME [--count N]\n"
    "                    [--after ID]\n"
    "\n"
    "Attacks an agent as somebody who holds the cluster key and no member's own key:\n"
    "  events   N user events of an origin that nobody knows, as fast as they are read\n"
    "  names    N user events and queries in the name of the member whose event --after names,\n"
    "           with the next sequences: unsigned, or signed with a key of its own\n"
    "  future   N packets with Lamport times, ages and epochs at the ends of their ranges\n"
    "  bombs    N stream messages of the largest size, of as many and as deep parts as fit\n"
    "  giants   N streams, each with the largest frame, whose last byte never comes\n";

struct Arguments {
  Address target;
  std::string key;
  std::string attack;
  uint64_t count = 100;
  MessageId after;
};

/// "<origin hex>.<epoch>.<sequence>"
std::optional<MessageId> parse_id(std::string_view text) {
  MessageId id;
  constexpr size_t kDigits = 2 * NodeId::kSize;
  if (text.size() < kDigits + 4) return std::nullopt;
  for (size_t i = 0; i < NodeId::kSize; ++i) {
    const char* digits = text.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, id.origin.bytes[i], 16).ptr != digits + 2) {
      return std::nullopt;
    }
  }
  const char* end = text.data() + text.size();
  const auto epoch = std::from_chars(text.data() + kDigits + 1, end, id.epoch);
  if (epoch.ec != std::errc{} || epoch.ptr == end || *epoch.ptr != '.') return std::nullopt;
  if (std::from_chars(epoch.ptr + 1, end, id.sequence).ptr != end) return std::nullopt;
  return id;
}

std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  bool has_target = false;
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    const std::string_view value = words[i + 1];
    if (words[i] == "--target") {
      const auto target = Address::parse(value);
      if (!target) return std::nullopt;
      arguments.target = *target;
      has_target = true;
    } else if (words[i] == "--key") {
      arguments.key = value;
    } else if (words[i] == "--attack") {
      arguments.attack = value;
    } else if (words[i] == "--after") {
      const auto id = parse_id(value);
      if (!id) return std::nullopt;
      arguments.after = *id;
    } else if (words[i] == "--count") {
      const auto [end, error] =
          std::from_chars(value.data(), value.data() + value.size(), arguments.count);
      if (error != std::errc{} || end != value.data() + value.size()) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  if (!has_target || words.size() % 2 != 0) return std::nullopt;
  return arguments;
}

/// Somebody whom nobody knows, and whose events are as good as a member's.
const membership::Ed25519Keys& nobodys_keys() {
  static const membership::Ed25519Keys kKeys({0xee});
  return kKeys;
}

NodeId nobody() {
  return nobodys_keys().id_of(nobodys_keys().public_key());
}

template <typename Message>
void sign(const MessageId& id, Message& message) {
  const membership::PublicKey& key = nobodys_keys().public_key();
  std::string text;
  membership::write_signed_text(key, id, message, text);
  const membership::Signature signature = nobodys_keys().sign(text);
  message.set_public_key(key.data(), key.size());
  message.set_signature(signature.data(), signature.size());
}

// --- datagrams ---------------------------------------------------------------------------------

class Datagrams {
 public:
  Datagrams(const Address& target, const Keyring& keyring)
      : target_(target),
        sealer_(keyring, nobody(), static_cast<uint32_t>(::time(nullptr)), 1),
        socket_(::socket(agent::family_of(target), SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}

  void send(const proto::Packet& packet) {
    const std::string sealed = sealer_.seal(packet.SerializeAsString());
    const auto to = agent::to_socket_address(target_, agent::family_of(target_));
    ::sendto(socket_.get(), sealed.data(), sealed.size(), MSG_NOSIGNAL, to->get(), to->size);
    // Not more at once than the agent's socket holds: what it drops unread is no attack.
    if (++sent_ % 64 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

 private:
  const Address target_;
  PacketSealer sealer_;
  FileDescriptor socket_;
  uint64_t sent_ = 0;
};

proto::Packet packet() {
  proto::Packet made;
  made.set_sender(nobody().bytes.data(), nobody().bytes.size());
  return made;
}

proto::Record event(const MessageId& id, uint64_t ltime, const std::string& name,
                    bool is_signed = true) {
  proto::UserEvent event;
  event.set_ltime(ltime);
  event.set_name(name);
  event.set_payload(std::string(700, 'x'));
  if (is_signed) sign(id, event);
  proto::Record record;
  record.set_kind(proto::RECORD_USER_EVENT);
  record.set_key(membership::message_key(id));
  record.set_payload(event.SerializeAsString());
  return record;
}

void flood_events(const Arguments& arguments, const Keyring& keyring) {
  Datagrams datagrams(arguments.target, keyring);
  for (uint64_t i = 1; i <= arguments.count; ++i) {
    proto::Packet flood = packet();
    *flood.add_records() = event({nobody(), 1, i}, i, "flood" + std::to_string(i));
    datagrams.send(flood);
  }
}

void take_names(const Arguments& arguments, const Keyring& keyring) {
  Datagrams datagrams(arguments.target, keyring);
  MessageId id = arguments.after;
  for (uint64_t i = 0; i < arguments.count; ++i) {
    ++id.sequence;
    proto::Packet lie = packet();
    *lie.add_records() = event(id, i, "forged", i % 2 == 0);
    proto::Query query;
    query.set_name("forged");
    query.set_timeout_ms(5000);
    sign(id, query);
    proto::Record& record = *lie.add_records();
    record.set_kind(proto::RECORD_QUERY);
    record.set_key(membership::message_key(id));
    record.set_payload(query.SerializeAsString());
    datagrams.send(lie);
  }
}

void claim_the_future(const Arguments& arguments, const Keyring& keyring) {
  Datagrams datagrams(arguments.target, keyring);
  const std::vector<uint64_t> ends = {UINT64_MAX, UINT64_MAX - 1, uint64_t{1} << 63,
                                      (uint64_t{1} << 62) + 1, uint64_t{1} << 62};
  for (uint64_t i = 0; i < arguments.count; ++i) {
    const uint64_t end = ends[i % ends.size()];
    proto::Packet lie = packet();
    proto::Record record = event({nobody(), UINT32_MAX, end}, end, "future");
    record.set_age_ms(end);
    *lie.add_records() = record;
    proto::EventProgress& progress = *lie.add_progress();
    progress.set_origin(nobody().bytes.data(), nobody().bytes.size());
    progress.set_epoch(UINT32_MAX);
    progress.set_contiguous(end);
    proto::Query query;
    query.set_ltime(end);
    query.set_name("future");
    query.set_timeout_ms(end);
    sign({nobody(), UINT32_MAX, end}, query);
    record.set_kind(proto::RECORD_QUERY);
    record.set_payload(query.SerializeAsString());
    *lie.add_records() = record;
    lie.set_event_fingerprint(end);
    datagrams.send(lie);
  }
}

// --- streams -----------------------------------------------------------------------------------

bool write(const FileDescriptor& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

FileDescriptor connect(const Address& target) {
  const int family = agent::family_of(target);
  FileDescriptor fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience = {.tv_sec = 2, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const auto to = agent::to_socket_address(target, family);
  if (::connect(fd.get(), to->get(), to->size) != 0) return {};
  return fd;
}

/// False: it did not come to that.
bool shake_hands(const FileDescriptor& fd, StreamCodec& codec) {
  std::string out;
  codec.take_handshake(out);
  write(fd, out);
  while (!codec.established()) {
    char buffer[4096];
    const ssize_t count = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (count <= 0) return false;
    codec.receive({buffer, static_cast<size_t>(count)});
    if (codec.next() == StreamCodec::Event::kFailed) return false;
    out.clear();
    codec.take_handshake(out);
    write(fd, out);
  }
  return true;
}

/// Field `number` with `bytes` in it.
std::string field(unsigned number, std::string_view bytes) {
  std::string text;
  const auto varint = [&text](uint64_t value) {
    for (; value >= 0x80; value >>= 7) text += static_cast<char>(0x80 | (value & 0x7f));
    text += static_cast<char>(value);
  };
  varint(uint64_t{number} << 3 | 2);
  varint(bytes.size());
  return text.append(bytes);
}

std::string repeated(std::string_view part, size_t size) {
  std::string text;
  while (text.size() + part.size() <= size) text += part;
  return text;
}

/// Stream messages of the largest size: what a parser makes of each is many times as large.
std::vector<std::string> bombs() {
  constexpr size_t kRoom = membership::kMaxStreamMessage - 64;
  constexpr unsigned kRequest = 4;
  constexpr unsigned kReply = 5;
  constexpr unsigned kBatch = 6;
  std::vector<std::string> made;
  made.push_back(field(kBatch, repeated(field(1, ""), kRoom)));              // records
  made.push_back(field(kBatch, repeated(field(3, ""), kRoom)));              // wanted events
  made.push_back(field(kBatch, repeated(field(2, ""), kRoom)));              // wanted members
  made.push_back(field(kReply, repeated(field(3, ""), kRoom)));              // digests
  made.push_back(field(kReply, repeated(field(4, ""), kRoom)));              // progress
  made.push_back(field(kRequest, field(1, repeated(field(7, ""), kRoom))));  // tags of oneself
  made.push_back(field(kRequest, field(3, std::string(kRoom & ~size_t{7}, '\1'))));  // buckets
  std::string deep;
  for (int i = 0; i < 20'000; ++i) deep = field(15, deep);  // unknown, in each other
  made.push_back(deep);
  std::string groups(kRoom, '\x7b');  // groups begin and do not end
  made.push_back(groups);
  return made;
}

void throw_bombs(const Arguments& arguments, const Keyring& keyring) {
  const auto all = bombs();
  uint64_t thrown = 0;
  for (uint64_t i = 0; i < arguments.count; ++i) {
    const FileDescriptor fd = connect(arguments.target);
    StreamCodec codec(keyring, StreamCodec::Role::kOpener);
    if (!shake_hands(fd, codec)) continue;
    std::string out;
    codec.seal(all[i % all.size()], out);
    if (write(fd, out)) ++thrown;
    char buffer[4096];
    while (::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
  }
  std::printf("hostile_peer: %llu bombs\n", static_cast<unsigned long long>(thrown));
}

void hold_giants(const Arguments& arguments, const Keyring& keyring) {
  std::vector<FileDescriptor> held;
  for (uint64_t i = 0; i < arguments.count; ++i) {
    FileDescriptor fd = connect(arguments.target);
    StreamCodec codec(keyring, StreamCodec::Role::kOpener);
    if (!shake_hands(fd, codec)) continue;
    std::string out;
    codec.seal(std::string(membership::kMaxStreamMessage, 'x'), out);
    out.pop_back();
    if (write(fd, out)) held.push_back(std::move(fd));
  }
  std::printf("hostile_peer: %zu giants wait for their last byte\n", held.size());
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::seconds(2));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const auto arguments = parse(words);
  void (*attack)(const Arguments&, const Keyring&) = nullptr;
  if (arguments) {
    const std::string& name = arguments->attack;
    attack = name == "events"   ? flood_events
             : name == "names"  ? take_names
             : name == "future" ? claim_the_future
             : name == "bombs"  ? throw_bombs
             : name == "giants" ? hold_giants
                                : nullptr;
  }
  if (attack == nullptr) {
    std::fputs(kUsage.data(), stderr);
    return 2;
  }
  const auto keyring = Keyring::from_base64({arguments->key});
  if (!keyring) {
    std::fprintf(stderr, "hostile_peer: %s\n", keyring.error().message.c_str());
    return 2;
  }
  attack(*arguments, *keyring);
  return 0;
}
