// SPDX-License-Identifier: Apache-2.0
#include "agent/net/udp.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proto/support/assert.h"

namespace starling::agent {

using membership::Address;

namespace {

constexpr int kMaxErrorsAtOnce = 256;
constexpr int kReadAttempts = 4;

}  // namespace

struct UdpSocket::Incoming {
  std::array<std::array<char, kMaxDatagram>, kBatch> bytes;
  std::array<sockaddr_storage, kBatch> from;
  std::array<iovec, kBatch> vectors;
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(uint32_t))> bytes;
  };
  std::array<Control, kBatch> control;
  std::array<mmsghdr, kBatch> messages;
};

struct UdpSocket::Outgoing {
  std::array<std::string, kBatch> bytes;  // their memory is used again
  std::array<SocketAddress, kBatch> to;
};

// The incoming buffers are not filled with zeros: what a quiet agent never reads into takes no
// memory.
UdpSocket::UdpSocket(FileDescriptor socket, int family)
    : socket_(std::move(socket)),
      family_(family),
      incoming_(std::make_unique_for_overwrite<Incoming>()),
      outbound_(std::make_unique<Outgoing>()) {
  batch_.reserve(kBatch);
}

UdpSocket::~UdpSocket() = default;

const std::vector<UdpSocket::Datagram>& UdpSocket::read(size_t max) {
  batch_.clear();
  const size_t wanted = std::min(max, kBatch);
  for (size_t i = 0; i < wanted; ++i) {
    incoming_->vectors[i] = {incoming_->bytes[i].data(), kMaxDatagram};
    msghdr& header = incoming_->messages[i].msg_hdr;
    header = {};
    header.msg_name = &incoming_->from[i];
    header.msg_namelen = sizeof(sockaddr_storage);
    header.msg_iov = &incoming_->vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = incoming_->control[i].bytes.data();
    header.msg_controllen = incoming_->control[i].bytes.size();
  }
  int count = -1;
  for (int attempt = 0; attempt < kReadAttempts && count < 0 && wanted > 0; ++attempt) {
    count = recvmmsg(socket_.get(), incoming_->messages.data(), static_cast<unsigned>(wanted),
                     MSG_DONTWAIT, nullptr);
    if (count >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) break;
    // What was sent earlier has failed; the error hides the datagrams behind it.
    if (errno != EINTR) read_error_queue();
  }
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    msghdr& header = incoming_->messages[index].msg_hdr;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr;
         item = CMSG_NXTHDR(&header, item)) {
      if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SO_RXQ_OVFL) continue;
      uint32_t total = 0;
      std::memcpy(&total, CMSG_DATA(item), sizeof total);
      note_dropped(total);
    }
    const auto from = from_socket_address(incoming_->from[index]);
    if (!from) continue;
    const size_t size = std::min<size_t>(incoming_->messages[index].msg_len, kMaxDatagram);
    batch_.push_back(
        {*from, {incoming_->bytes[index].data(), size}, (header.msg_flags & MSG_TRUNC) != 0});
  }
  return batch_;
}

void UdpSocket::note_dropped(uint32_t total) {
  dropped_ += total - dropped_total_;  // modulo 2^32, as the kernel counts
  dropped_total_ = total;
}

std::string* UdpSocket::add(const Address& to) {
  STARLING_ASSERT(!full());
  const auto address = to_socket_address(to, family_);
  if (!address) return nullptr;
  outbound_->to[outgoing_] = *address;
  return &outbound_->bytes[outgoing_++];
}

UdpSocket::Sent UdpSocket::flush() {
  Sent result;
  std::array<iovec, kBatch> vectors;
  std::array<mmsghdr, kBatch> messages;
  for (size_t i = 0; i < outgoing_; ++i) {
    std::string& bytes = outbound_->bytes[i];
    vectors[i] = {bytes.data(), bytes.size()};
    messages[i] = {};
    messages[i].msg_hdr.msg_name = outbound_->to[i].get();
    messages[i].msg_hdr.msg_namelen = outbound_->to[i].size;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  bool again = false;
  for (size_t next = 0; next < outgoing_;) {
    const int count =
        sendmmsg(socket_.get(), &messages[next], static_cast<unsigned>(outgoing_ - next),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      again = false;
      for (const size_t end = next + static_cast<size_t>(count); next < end; ++next) {
        ++result.sent;
        result.bytes += outbound_->bytes[next].size();
      }
      // Which error stopped it is not said; if it was that of an earlier datagram, it is told once.
      if (next < outgoing_) read_error_queue();
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
      again = false;
      ++result.buffer_full;
      ++next;
    } else if (!std::exchange(again, true)) {
      // With IP_RECVERR the failure of an earlier datagram, to anybody, is reported here.
      read_error_queue();
    } else {
      again = false;
      ++result.failed;
      ++next;
    }
  }
  outgoing_ = 0;
  return result;
}

void UdpSocket::read_error_queue() {
  // Reading SO_ERROR clears an error that came without an entry in the queue.
  int pending = 0;
  socklen_t size = sizeof pending;
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &pending, &size);
  for (int i = 0; i < kMaxErrorsAtOnce; ++i) {
    sockaddr_storage destination{};
    std::array<char, 64> payload;
    iovec vector = {payload.data(), payload.size()};
    struct alignas(cmsghdr) {
      std::array<char, 512> bytes;
    } control;
    msghdr header{};
    header.msg_name = &destination;
    header.msg_namelen = sizeof destination;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    if (recvmsg(socket_.get(), &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr;
         item = CMSG_NXTHDR(&header, item)) {
      const bool error_item = (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR) ||
                              (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR);
      if (!error_item) continue;
      sock_extended_err error{};
      std::memcpy(&error, CMSG_DATA(item), sizeof error);
      if (error.ee_errno != ECONNREFUSED) continue;  // other errors are only silence
      const auto peer = from_socket_address(destination);
      if (peer && pending_refusals_.size() < kMaxRefusals) pending_refusals_.push_back(*peer);
    }
  }
}

void UdpSocket::take_refusals(std::vector<Address>& refused) {
  for (const Address& peer : pending_refusals_) {
    if (refused.size() < kMaxRefusals) refused.push_back(peer);
  }
  pending_refusals_.clear();
}

}  // namespace starling::agent
