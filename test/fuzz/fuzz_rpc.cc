// SPDX-License-Identifier: Apache-2.0
//
// What clients of an agent say, and what an agent says to clients. The first byte says who hears
// the other bytes (the door of Serf's RPC, its client, the control socket), and in what portions.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/control/frame.h"
#include "agent/control/serf_codec.h"
#include "agent/control/serf_wire.h"
#include "proto/control.pb.h"
#include "test/fuzz/message_maker.h"

namespace {

using namespace starling;         // NOLINT(google-build-using-namespace)
using namespace starling::agent;  // NOLINT(google-build-using-namespace)

/// As SerfConnection does, with whatever has been shown of token and handshake.
class Door {
 public:
  /// False: the connection would be closed.
  bool take(std::string_view bytes) {
    decoder_.add(bytes);
    while (true) {
      auto value = decoder_.next();
      if (!value) return false;
      if (!*value) return true;
      if (!take(**value)) return false;
    }
  }

 private:
  bool take(const msgpack::Value& value) {
    if (!waiting_) {
      const auto header = serf::read_header(value);
      if (!header) return false;
      const auto command = serf::parse_command(header->command);
      if (!command) return true;
      command_ = *command;
      seq_ = header->seq;
      waiting_ = serf::request_has_body(*command);
      return waiting_ || answer(msgpack::Value{});
    }
    waiting_ = false;
    return answer(value);
  }

  bool answer(const msgpack::Value& body) const {
    static_cast<void>(serf::read_version(body));
    static_cast<void>(serf::read_auth_key(body));
    static_cast<void>(serf::read_stop(body));
    if (command_ == serf::Command::kHandshake || command_ == serf::Command::kAuth ||
        command_ == serf::Command::kStop) {
      return true;
    }
    const auto request = serf::to_request(command_, body);
    if (!request) return true;
    if (request->SerializeAsString().size() > (size_t{16} << 20)) std::abort();
    control::Reply reply;
    reply.set_error(request->ShortDebugString().substr(0, 200));
    if (serf::is_stream(command_)) {
      static_cast<void>(serf::encode_stream_reply(seq_, reply));
    } else if (serf::encode_response(command_, seq_, reply).empty()) {
      std::abort();
    }
    return true;
  }

  msgpack::Decoder decoder_;
  serf::Command command_ = serf::Command::kHandshake;
  uint64_t seq_ = 0;
  bool waiting_ = false;
};

/// A client that has asked everything that it can.
class Asker {
 public:
  Asker() : wire_("token") {
    static_cast<void>(wire_.greeting());
    for (uint64_t id = 1; id <= 8; ++id) {
      control::Request request;
      request.set_id(id);
      if (id == 1) request.mutable_members();
      if (id == 2) request.mutable_info();
      if (id == 3) request.mutable_query()->set_name("q");
      if (id == 4) request.mutable_monitor();
      if (id == 5) request.mutable_keys()->set_operation(control::KeysRequest::LIST);
      if (id == 6) request.mutable_join()->add_addresses("a");
      if (id == 7) request.mutable_leave();
      if (id == 8) request.mutable_event()->set_name("e");
      static_cast<void>(wire_.encode(request));
    }
  }
  bool take(std::string_view bytes) {
    return wire_.receive(bytes, [](control::Reply) { return true; }).has_value();
  }

 private:
  SerfWire wire_;
};

class Socket {
 public:
  bool take(std::string_view bytes) {
    return decoder_
        .receive(bytes,
                 [](std::string_view frame) {
                   control::Request request;
                   if (request.ParseFromArray(frame.data(), static_cast<int>(frame.size()))) {
                     const auto again = encode_frame(request);
                     if (!again) std::abort();
                   }
                   return true;
                 })
        .has_value();
  }

 private:
  FrameDecoder decoder_;
};

template <typename Listener>
void feed(Listener listener, std::string_view bytes, size_t portion) {
  while (!bytes.empty() && listener.take(bytes.substr(0, portion))) {
    bytes.remove_prefix(std::min(portion, bytes.size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::silence_protobuf();
  if (size == 0) return 0;
  const size_t portion = data[0] < 128 ? 65536 : 1 + (data[0] & 31);
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] >> 5 & 3) {
    case 0:
    case 1:
      feed(Door(), input, portion);
      break;
    case 2:
      feed(Asker(), input, portion);
      break;
    default:
      feed(Socket(), input, portion);
  }
  return 0;
}
