// SPDX-License-Identifier: Apache-2.0
#include "agent/control/serf_connection.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <asio/post.hpp>
#include <utility>

namespace starling::agent {

using msgpack::Value;
using serf::Command;

namespace {

constexpr int64_t kVersion = 1;
constexpr const char* kComponent = "rpc";
// Serf's own client drops answers that it has read but not yet printed when the end comes close
// behind them; Serf ends a query at its deadline only, and never shows it.
constexpr auto kBeforeTheEnd = std::chrono::milliseconds(500);

/// Takes the same time whatever the tokens have in common.
bool same_token(std::string_view given, std::string_view wanted) {
  using Hash = std::array<unsigned char, crypto_generichash_BYTES>;
  const auto hash = [](std::string_view text) {
    Hash out{};
    crypto_generichash(out.data(), out.size(), reinterpret_cast<const unsigned char*>(text.data()),
                       text.size(), nullptr, 0);
    return out;
  };
  const Hash a = hash(given);
  const Hash b = hash(wanted);
  return sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

SerfConnection::SerfConnection(House& house, ChannelSocket socket, std::string peer)
    : Channel(house.io, std::move(socket),
              {house.options.queued_bytes, house.options.queued_replies}),
      house_(house),
      peer_(std::move(peer)),
      decoder_({.bytes = house.options.auth.empty() ? house.options.message_bytes
                                                    : house.options.first_message_bytes}),
      greeting_(house.io) {}

void SerfConnection::start() {
  greeting_.expires_after(std::chrono::seconds(house_.options.greeting_seconds));
  greeting_.async_wait([this, weak = weak_from_this()](const asio::error_code& error) {
    const auto self = weak.lock();
    if (error || !self || !is_open()) return;
    house_.log.info(kComponent,
                    peer_ + " neither shook hands nor showed its token in time: closed");
    close();
  });
  read();
}

// --- in ----------------------------------------------------------------------------------------

bool SerfConnection::take(std::string_view& input) {
  decoder_.add(std::exchange(input, {}));
  while (is_open() && !waiting_) {
    auto value = decoder_.next();
    if (!value) {
      malformed(value.error().message);
      return false;
    }
    if (!*value) return true;
    take_value(**value);
  }
  return false;
}

void SerfConnection::take_value(const Value& value) {
  if (!header_) return take_header(value);
  const serf::Header header = *std::exchange(header_, std::nullopt);
  carry_out(*serf::parse_command(header.command), header.seq, value);
}

void SerfConnection::take_header(const Value& value) {
  auto header = serf::read_header(value);
  if (!header) return malformed(header.error().message);
  const auto command = serf::parse_command(header->command);
  if (!shaken_ && command != Command::kHandshake) {
    respond(header->seq, "Handshake required");
    return finish();
  }
  if (!command) {
    if (!trusted()) return respond(header->seq, "Authentication required");
    respond(header->seq, "Unsupported command");
    return finish();
  }
  if (serf::request_has_body(*command)) {
    header_ = std::move(*header);
  } else {
    carry_out(*command, header->seq, {});
  }
}

void SerfConnection::carry_out(Command command, uint64_t seq, const Value& body) {
  if (command == Command::kHandshake) return shake_hands(seq, body);
  if (command == Command::kAuth) return authenticate(seq, body);
  // Serf leaves the body in the stream here, takes it for a header, and answers twice.
  if (!trusted()) return respond(seq, "Authentication required");
  if (command == Command::kStop) return stop(seq, body);
  ask_service(command, seq, body);
}

void SerfConnection::shake_hands(uint64_t seq, const Value& body) {
  const auto version = serf::read_version(body);
  if (!version) return malformed("handshake: " + version.error().message);
  if (*version != kVersion) return respond(seq, "Unsupported IPC version");
  if (shaken_) return respond(seq, "Handshake already performed");
  shaken_ = true;
  respond(seq, "");
  greeted();
}

void SerfConnection::authenticate(uint64_t seq, const Value& body) {
  const auto token = serf::read_auth_key(body);
  if (!token) return malformed("auth: " + token.error().message);
  if (same_token(*token, house_.options.auth)) {
    authenticated_ = true;
    decoder_.set_limits({.bytes = house_.options.message_bytes});
    respond(seq, "");
    return greeted();
  }
  ++house_.counters.denied;
  ++wrong_tokens_;
  house_.log.warn(kComponent, peer_ + " showed a wrong token");
  respond(seq, "Invalid authentication token");
  if (wrong_tokens_ >= house_.options.wrong_tokens) finish();
}

void SerfConnection::greeted() {
  if (shaken_ && trusted()) greeting_.cancel();
}

void SerfConnection::stop(uint64_t seq, const Value& body) {
  const auto wanted = serf::read_stop(body);
  if (!wanted) return malformed("stop: " + wanted.error().message);
  const auto found = std::ranges::find_if(open_, [&](const auto& each) {
    return each.second.seq == *wanted &&
           (each.second.command == Command::kStream || each.second.command == Command::kMonitor);
  });
  if (found == open_.end()) return respond(seq, "");
  control::Request request;
  request.mutable_stop()->set_monitor(found->first);
  begin(++last_id_, {seq, Command::kStop, nullptr}, std::move(request));
}

std::string SerfConnection::refusal(Command command, uint64_t seq) const {
  const auto runs = [&](auto condition) {
    return std::ranges::any_of(open_, [&](const auto& each) { return condition(each.second); });
  };
  if (command == Command::kMonitor &&
      runs([](const Open& each) { return each.command == Command::kMonitor; })) {
    return "Monitor already exists";
  }
  if (command == Command::kStream &&
      runs([&](const Open& each) { return each.command == Command::kStream && each.seq == seq; })) {
    return "Stream with given sequence exists";
  }
  if (open_.size() >= house_.options.streams) {
    return "this connection has " + std::to_string(open_.size()) +
           " streams and queries, which is the limit: stop some, or open another connection";
  }
  return {};
}

void SerfConnection::ask_service(Command command, uint64_t seq, const Value& body) {
  if (serf::is_stream(command)) {
    const std::string refused = refusal(command, seq);
    if (!refused.empty()) return respond(seq, refused);
  }
  auto request = serf::to_request(command, body);
  if (!request) {
    const std::string error =
        std::string(serf::command_name(command)) + ": " + request.error().message;
    respond_failed(command, seq, error);
    return malformed(error);
  }
  begin(++last_id_, {seq, command, nullptr}, std::move(*request));
}

void SerfConnection::begin(uint64_t id, Open open, control::Request request) {
  if (open.command == Command::kLeave) asked_to_leave_ = true;
  open_[id] = std::move(open);
  waiting_ = id;
  request.set_id(id);
  // Both bases know how to share this object; the service wants the session.
  house_.handler.handle(std::static_pointer_cast<SerfConnection>(shared_from_this()), request);
}

// --- out ---------------------------------------------------------------------------------------

bool SerfConnection::send(const control::Reply& reply) {
  const auto found = open_.find(reply.id());
  if (!is_open() || found == open_.end()) return false;
  if (waiting_ == reply.id()) {
    waiting_.reset();
    read_soon();
  }
  const Open& open = found->second;
  if (!serf::is_stream(open.command)) {
    const std::string message = serf::encode_response(open.command, open.seq, reply);
    if (reply.done()) open_.erase(found);
    return put(message);
  }
  std::string message = serf::encode_stream_reply(open.seq, reply);
  if (reply.has_query_done()) {
    end_query(reply.id(), std::move(message));
    return true;
  }
  if (reply.done()) open_.erase(found);
  return message.empty() || put(message);
}

bool SerfConnection::offer(const control::Reply& reply) {
  const auto found = open_.find(reply.id());
  // What nobody waits for any more is as good as taken: nobody has to keep it.
  if (!is_open() || found == open_.end()) return true;
  const std::string message = serf::encode_stream_reply(found->second.seq, reply);
  return message.empty() || queue(message);
}

void SerfConnection::when_room(std::function<void()> room) {
  if (!is_open()) return;
  want_room_.push_back(std::move(room));
  if (has_room()) drained();
}

void SerfConnection::drained() {
  if (want_room_.empty()) return;
  asio::post(house_.io, [waiting = std::exchange(want_room_, {})] {
    for (const auto& one : waiting) one();
  });
}

void SerfConnection::end_query(uint64_t id, std::string record) {
  auto& ending = open_.at(id).ending;
  ending = std::make_unique<asio::steady_timer>(house_.io, kBeforeTheEnd);
  ending->async_wait([this, id, weak = weak_from_this(),
                      record = std::move(record)](const asio::error_code& error) {
    const auto self = weak.lock();
    if (error || !self || !is_open()) return;
    open_.erase(id);
    put(record);
  });
}

void SerfConnection::respond(uint64_t seq, std::string_view error) {
  put(serf::encode_header(seq, error));
}

void SerfConnection::respond_failed(Command command, uint64_t seq, const std::string& error) {
  control::Reply reply;
  reply.set_error(error);
  put(serf::encode_response(command, seq, reply));
}

bool SerfConnection::put(const std::string& message) {
  if (queue(message)) return true;
  if (!is_open()) return false;
  ++house_.counters.closed_slow;
  close_soon();
  house_.log.warn(kComponent, peer_ + " does not read what it asked for: closed, with more than " +
                                  std::to_string(house_.options.queued_replies) + " records or " +
                                  std::to_string(house_.options.queued_bytes) + " bytes waiting");
  return false;
}

// --- the end -----------------------------------------------------------------------------------

void SerfConnection::malformed(const std::string& why) {
  ++house_.counters.malformed;
  house_.log.info(kComponent, peer_ + " closed: " + why);
  finish();
}

void SerfConnection::on_close() {
  greeting_.cancel();
  const auto self = std::static_pointer_cast<SerfConnection>(shared_from_this());
  house_.handler.session_closed(self);
  house_.closed(self);
}

}  // namespace starling::agent
