// SPDX-License-Identifier: Apache-2.0
//
// The datagram socket: batches in, single datagrams out, and what the network said about those
// (ICMP). Raw bytes; knows nothing of sealing. Non-blocking: waiting is the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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
  enum class SendResult : uint8_t { kSent, kBufferFull, kFailed };

  /// `socket`: bound, of `family`.
  UdpSocket(FileDescriptor socket, int family);
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  [[nodiscard]] int fd() const { return socket_.get(); }

  /// Reads up to min(max, kBatch) waiting datagrams; they are valid until the next call.
  const std::vector<Datagram>& read(size_t max);

  SendResult send(const membership::Address& to, std::string_view bytes);

  /// Appends peers whose host refused a datagram, at most up to kMaxRefusals in the list. Also
  /// clears the socket's pending error.
  void take_refusals(std::vector<membership::Address>& refused);
  static constexpr size_t kMaxRefusals = 256;

  /// Refusals that send() came across; the caller takes them with take_refusals().
  [[nodiscard]] bool has_refusals() const { return !pending_refusals_.empty(); }
  /// Datagrams that the kernel dropped because the receive buffer was full.
  [[nodiscard]] uint64_t dropped_by_kernel() const { return dropped_; }

 private:
  struct Buffers;
  void read_error_queue();
  void note_dropped(uint32_t total);

  FileDescriptor socket_;
  int family_;
  std::unique_ptr<Buffers> buffers_;
  std::vector<Datagram> batch_;
  std::vector<membership::Address> pending_refusals_;
  uint64_t dropped_ = 0;
  uint32_t dropped_total_ = 0;  // the kernel's counter, which wraps
};

}  // namespace starling::agent
