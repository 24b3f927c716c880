// SPDX-License-Identifier: Apache-2.0
//
// Discovery: finds members of the cluster on the local network by mDNS, as Serf's -discover does,
// and joins them. Avahi is spoken to by a process of its own, starling-discover
// (discovery_avahi.cc): the agent is spared D-Bus and all that comes with it, and goes on when the
// other fails. That process announces this agent and tells in lines whom it finds:
//
//     announced              this agent is announced under the service
//     trouble TEXT           why nothing can be announced or found at present
//     found ADDRESS          an agent of the service, this one among them
//     lost ADDRESS           it is announced no more
//
// Those found that are not members are joined, a few at a time: the others become members through
// them. Who cannot be joined is tried again, ever more rarely, as long as it is announced.
//
// Event-loop thread only. Bounded: kMaxFound addresses, kLongestLine bytes of a line.
#pragma once

#include <sys/types.h>

#include <array>
#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cluster.h"
#include "agent/log.h"
#include "membership/random.h"

namespace starling::agent {

/// The path of starling-discover: beside this program, or in ../lib/starling. kNotFound when it was
/// not built (Avahi's library was missing) or is not installed.
Result<std::string> find_discovery_program();

struct DiscoveryOptions {
  std::string program;    ///< path of starling-discover
  std::string cluster;    ///< those that discover the same name find each other
  std::string interface;  ///< to announce and look on; empty: all
  bool ipv4 = true;       ///< mDNS over IPv4
  bool ipv6 = true;       ///< ... and over IPv6
  bool replay = false;    ///< join with events from before
  // Tests shorten these.
  membership::Duration quiet = std::chrono::milliseconds(100);  ///< from a find to the join
  membership::Duration settle = std::chrono::seconds(1);        ///< after a join; doubles
  membership::Duration retry = std::chrono::seconds(5);         ///< after a failure; doubles
  membership::Duration check = std::chrono::minutes(1);         ///< longest between two looks
};

class Discovery {
 public:
  static constexpr size_t kMaxFound = 1024;
  static constexpr size_t kLongestLine = 512;
  /// Joined at once.
  static constexpr size_t kJoined = 3;

  /// `cluster` and `log` outlive it.
  Discovery(asio::io_context& io, Cluster& cluster, Log& log, DiscoveryOptions options);
  ~Discovery();
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  /// Starts the program, and again whenever it ends.
  void start();
  /// Ends it; this agent is announced no more.
  void stop();

  /// Announced agents that were not remembered, for there were kMaxFound.
  [[nodiscard]] uint64_t dropped() const { return dropped_; }

 private:
  // --- the program ---
  Result<void> spawn();
  [[nodiscard]] std::vector<std::string> arguments() const;
  void read();
  void take_lines(size_t size);
  void take_line(std::string_view line);
  void trouble(const std::string& text);
  void ended(const std::string& why);
  void reap();

  // --- joining ---
  void found(const membership::Address& address);
  void look_in(membership::Duration delay);
  void look();
  void joined(const JoinOutcome& outcome);
  [[nodiscard]] std::vector<std::string> strangers();
  membership::Duration backoff(membership::Duration first, unsigned times);

  Cluster& cluster_;
  Log& log_;
  const DiscoveryOptions options_;
  membership::Random random_;

  pid_t child_ = -1;
  asio::local::stream_protocol::socket socket_;
  std::array<char, kLongestLine> buffer_{};
  std::string line_;
  asio::steady_timer restart_timer_;
  unsigned restarts_ = 0;  // since it last worked
  std::string trouble_;    // that was logged last; empty: all is well

  std::set<membership::Address> announced_;  // found and not lost
  uint64_t dropped_ = 0;
  asio::steady_timer look_timer_;
  bool hurried_ = false;  // the timer waits for `quiet` only
  bool joining_ = false;
  unsigned rounds_ = 0;  // joins since nobody was left to join, or somebody was found
  bool stopped_ = false;
};

}  // namespace starling::agent
