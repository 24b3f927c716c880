// SPDX-License-Identifier: Apache-2.0
//
// Statsd: tells a statsd (or statsite) server over UDP, every ten seconds, what `info` counts,
// under Serf's prefix: serf-agent.HOST.SECTION.KEY. What only grows is told as a counter, by how
// much it has grown; the rest as a gauge.
//
// Event-loop thread only. Bounded: kMaxDatagrams of at most kDatagram bytes each time. Nobody waits
// for the server; what does not go out at once is counted and let go.
#pragma once

#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/log.h"
#include "agent/net/resolve.h"
#include "proto/control.pb.h"

namespace starling::agent {

/// Turns what `info` says into lines of statsd. Remembers counters between calls.
class StatsdLines {
 public:
  /// `host` becomes part of every name.
  explicit StatsdLines(std::string_view host);

  /// "name:value|c" or "|g", one for each number of the sections that hold numbers; counters that
  /// have not grown are left out.
  std::vector<std::string> update(const control::InfoReply& info);

 private:
  std::string prefix_;
  std::map<std::string, uint64_t> told_;
};

class Statsd {
 public:
  static constexpr size_t kDatagram = 1400;
  static constexpr size_t kMaxDatagrams = 32;

  struct Options {
    std::vector<std::string> servers;  ///< "host:port"; names are looked up each time
    std::string host;
    std::chrono::milliseconds interval{10'000};
  };
  /// `log` outlives it.
  Statsd(asio::io_context& io, Log& log, Options options, std::function<control::InfoReply()> info);

  /// Datagrams that were not sent.
  [[nodiscard]] uint64_t dropped() const { return dropped_; }

 private:
  void later();
  void tell();
  void send(const membership::Address& to, const std::vector<std::string>& datagrams);

  Log& log_;
  const Options options_;
  std::function<control::InfoReply()> info_;
  StatsdLines lines_;
  Resolver resolver_;
  asio::ip::udp::socket v4_;
  asio::ip::udp::socket v6_;
  asio::steady_timer timer_;
  uint64_t dropped_ = 0;
  bool unreachable_ = false;  // said so in the log
};

}  // namespace starling::agent
