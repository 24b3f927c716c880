// SPDX-License-Identifier: Apache-2.0
//
// The datagram socket: batches in, batches out, and what the network said about those (ICMP). Raw
// bytes; knows nothing of sealing. Non-blocking: waiting is the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/socket.h"
#include "membership/address.h"

namespace starling::agent {

class UdpSocket {
 public:
  static constexpr size_t kBatch = 64;
  /// Longer datagrams are cut and marked. Room for a sealed packet and more.
  static constexpr size_t kMaxDatagram = 1280;

  struct Datagram {
    membership::Address from;
    std::string_view bytes;
    bool cut;  ///< longer than kMaxDatagram
  };
  /// What became of a batch, in datagrams.
  struct Sent {
    size_t sent = 0;
    size_t bytes = 0;        ///< of these
    size_t buffer_full = 0;  ///< the kernel had no room
    size_t failed = 0;
  };

  /// `socket`: bound, of `family`.
  UdpSocket(FileDescriptor socket, int family);
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  [[nodiscard]] int fd() const { return socket_.get(); }

  /// Reads up to min(max, kBatch) waiting datagrams; they are valid until the next call.
  const std::vector<Datagram>& read(size_t max);

  /// Where the bytes of one more datagram go that flush() is to send; nullptr for an address that
  /// this socket cannot send to. Valid until the next call. Not when full().
  std::string* add(const membership::Address& to);
  /// Whether kBatch datagrams wait.
  [[nodiscard]] bool full() const { return outgoing_ == kBatch; }
  [[nodiscard]] bool waiting() const { return outgoing_ > 0; }
  /// Sends all that were added, in their order, each on its own: one that fails takes nothing from
  /// the others.
  Sent flush();

  /// Reads what the network said about datagrams that were sent earlier. read() and flush() do so
  /// themselves when the kernel reports an error.
  void read_error_queue();
  /// Appends peers whose host refused a datagram, at most up to kMaxRefusals in the list.
  void take_refusals(std::vector<membership::Address>& refused);
  static constexpr size_t kMaxRefusals = 256;
  /// Refusals that were read and not yet taken.
  [[nodiscard]] bool has_refusals() const { return !pending_refusals_.empty(); }
  /// Datagrams that the kernel dropped because the receive buffer was full.
  [[nodiscard]] uint64_t dropped_by_kernel() const { return dropped_; }

 private:
  struct Incoming;
  struct Outgoing;
  void note_dropped(uint32_t total);

  FileDescriptor socket_;
  int family_;
  std::unique_ptr<Incoming> incoming_;
  std::vector<Datagram> batch_;
  std::unique_ptr<Outgoing> outbound_;
  size_t outgoing_ = 0;  // of the slots in outbound_, those in use
  std::vector<membership::Address> pending_refusals_;
  uint64_t dropped_ = 0;
  uint32_t dropped_total_ = 0;  // the kernel's counter, which wraps
};

}  // namespace starling::agent
