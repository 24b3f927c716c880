// SPDX-License-Identifier: Apache-2.0
//
// For tests of the transport: an endpoint that writes down what its callbacks are told, and raw
// sockets that speak to it as strangers do. Single-threaded: run_until() turns the loop.
#pragma once

#include <asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/net/socket.h"
#include "agent/net/transport.h"

namespace starling::agent {

inline const std::string kTestKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
inline const std::string kOtherKey = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// Turns the loop until `done`, at most 20 s. True when done.
inline bool run_until(asio::io_context& io, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(20));
  }
  return true;
}

/// Runs what is ready now.
inline void run_ready(asio::io_context& io) {
  io.restart();
  io.poll();
}

inline membership::Address loopback(uint16_t port = 0) {
  return *membership::Address::from_ip("127.0.0.1", port);
}

struct Peer {
  struct Closed {
    membership::StreamId stream;
    membership::StreamEnd end;
    std::string why;
  };

  explicit Peer(asio::io_context& io, uint8_t number, const std::string& key = kTestKey,
                const membership::Address& bind = loopback(), TransportLimits limits = {},
                uint32_t epoch = 1) {
    membership::NodeId id;
    id.bytes.fill(number);
    const Keyring ring = key.empty() ? Keyring::insecure() : *Keyring::from_base64({key});
    auto opened = Transport::open(io, bind, ring, id, epoch, callbacks(), limits);
    if (opened) {
      transport = std::move(*opened);
    } else {
      error = opened.error().message;
    }
  }

  Transport::Callbacks callbacks() {
    return {
        .on_datagram =
            [this](const membership::Address& from, std::string_view plain) {
              datagrams.emplace_back(from, plain);
              if (react_to_datagram) react_to_datagram();
            },
        .on_refused = [this](const membership::Address& peer) { refused.push_back(peer); },
        .on_delivered = [this] { ++deliveries; },
        .on_accepted =
            [this](membership::StreamId stream, const membership::Address& from) {
              accepted.emplace_back(stream, from);
            },
        .on_opened = [this](membership::StreamId stream) { opened_streams.push_back(stream); },
        .on_message =
            [this](membership::StreamId stream, std::string_view message) {
              messages[stream].emplace_back(message);
              if (react_to_message) react_to_message(stream);
            },
        .on_closed = [this](membership::StreamId stream, membership::StreamEnd end,
                            std::string why) { closed.push_back({stream, end, std::move(why)}); },
    };
  }

  void send(const membership::Address& to, std::string_view plain) const {
    transport->send(to, plain);
    transport->flush();
  }
  [[nodiscard]] membership::Address address() const { return transport->local_address(); }
  [[nodiscard]] TransportStatistics statistics() const { return transport->statistics(); }

  std::unique_ptr<Transport> transport;
  std::string error;
  std::vector<std::pair<membership::Address, std::string>> datagrams;
  std::vector<membership::Address> refused;
  size_t deliveries = 0;
  std::vector<std::pair<membership::StreamId, membership::Address>> accepted;
  std::vector<membership::StreamId> opened_streams;
  std::map<membership::StreamId, std::vector<std::string>> messages;
  std::vector<Closed> closed;
  std::function<void()> react_to_datagram;
  std::function<void(membership::StreamId)> react_to_message;
};

/// A plain TCP connection to `to`, or an empty descriptor.
inline FileDescriptor raw_stream(const membership::Address& to) {
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = to_socket_address(to, AF_INET);
  if (connect(fd.get(), address->get(), address->size) != 0) return {};
  return fd;
}

inline bool raw_send(const FileDescriptor& fd, std::string_view bytes) {
  return ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

/// Reads what is there; true when the other side has closed.
inline bool raw_closed(const FileDescriptor& fd, std::string& received) {
  char buffer[4096];
  while (true) {
    const ssize_t count = recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count == 0) return true;
    if (count < 0) return errno != EAGAIN && errno != EWOULDBLOCK;
    received.append(buffer, static_cast<size_t>(count));
  }
}
inline bool raw_closed(const FileDescriptor& fd) {
  std::string ignored;
  return raw_closed(fd, ignored);
}

inline size_t open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace starling::agent
