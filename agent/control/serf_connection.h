// SPDX-License-Identifier: Apache-2.0
//
// One client of the Serf RPC. Internal to agent/control. Event-loop thread only.
//
// Invariant: while waiting_ is set, its command has no response yet and no further request is
// looked at.
#pragma once

#include <asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/control/channel.h"
#include "agent/control/msgpack.h"
#include "agent/control/serf_codec.h"
#include "agent/control/serf_server.h"

namespace starling::agent {

class SerfConnection final : public Channel, public Session {
 public:
  /// What connections share, and outlives them.
  struct House {
    asio::io_context& io;
    const SerfServerOptions& options;
    SerfServerCounters& counters;
    RequestHandler& handler;
    Log& log;
    std::function<void(const std::shared_ptr<SerfConnection>&)> closed;
  };

  SerfConnection(House& house, ChannelSocket socket, std::string peer);

  /// Begins to read.
  void start();
  bool send(const control::Reply& reply) override;
  bool offer(const control::Reply& reply) override;
  void when_room(std::function<void()> room) override;
  /// It has asked the agent to leave.
  [[nodiscard]] bool asked_to_leave() const { return asked_to_leave_; }

 protected:
  bool take(std::string_view& input) override;
  void drained() override;
  void on_close() override;

 private:
  /// A request to the service whose last response has not been queued.
  struct Open {
    uint64_t seq = 0;
    serf::Command command{};
    std::unique_ptr<asio::steady_timer> ending;  ///< see end_query()
  };

  /// One value of the stream: a header, or the body that belongs to header_.
  void take_value(const msgpack::Value& value);
  void take_header(const msgpack::Value& value);
  void carry_out(serf::Command command, uint64_t seq, const msgpack::Value& body);
  void shake_hands(uint64_t seq, const msgpack::Value& body);
  void authenticate(uint64_t seq, const msgpack::Value& body);
  void stop(uint64_t seq, const msgpack::Value& body);
  void ask_service(serf::Command command, uint64_t seq, const msgpack::Value& body);
  /// Why a stream cannot be started; empty: it can.
  [[nodiscard]] std::string refusal(serf::Command command, uint64_t seq) const;

  void respond(uint64_t seq, std::string_view error);
  /// A response without a service's reply, with the body that the command has.
  void respond_failed(serf::Command command, uint64_t seq, const std::string& error);
  bool put(const std::string& message);
  void malformed(const std::string& why);
  void greeted();
  void begin(uint64_t id, Open open, control::Request request);
  void end_query(uint64_t id, std::string record);
  [[nodiscard]] bool trusted() const { return house_.options.auth.empty() || authenticated_; }

  House& house_;
  std::string peer_;
  msgpack::Decoder decoder_;
  asio::steady_timer greeting_;
  bool shaken_ = false;
  bool authenticated_ = false;
  bool asked_to_leave_ = false;
  unsigned wrong_tokens_ = 0;
  std::optional<serf::Header> header_;  // whose body is awaited
  std::optional<uint64_t> waiting_;     // id of the request
  uint64_t last_id_ = 0;
  std::map<uint64_t, Open> open_;  // by the id that the service knows
  std::vector<std::function<void()>> want_room_;
};

}  // namespace starling::agent
