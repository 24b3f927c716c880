// SPDX-License-Identifier: Apache-2.0
#include "agent/net/udp.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace starling::agent {

using membership::Address;

namespace {

constexpr int kMaxErrorsAtOnce = 256;
constexpr int kReadAttempts = 4;

}  // namespace

struct UdpSocket::Buffers {
  std::array<std::array<char, kMaxDatagram>, kBatch> bytes;
  std::array<sockaddr_storage, kBatch> from;
  std::array<iovec, kBatch> vectors;
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(uint32_t))> bytes;
  };
  std::array<Control, kBatch> control;
  std::array<mmsghdr, kBatch> messages;
};

UdpSocket::UdpSocket(FileDescriptor socket, int family)
    : socket_(std::move(socket)), family_(family), buffers_(std::make_unique<Buffers>()) {
  batch_.reserve(kBatch);
}

UdpSocket::~UdpSocket() = default;

const std::vector<UdpSocket::Datagram>& UdpSocket::read(size_t max) {
  batch_.clear();
  const size_t wanted = std::min(max, kBatch);
  for (size_t i = 0; i < wanted; ++i) {
    buffers_->vectors[i] = {buffers_->bytes[i].data(), kMaxDatagram};
    msghdr& header = buffers_->messages[i].msg_hdr;
    header = {};
    header.msg_name = &buffers_->from[i];
    header.msg_namelen = sizeof(sockaddr_storage);
    header.msg_iov = &buffers_->vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = buffers_->control[i].bytes.data();
    header.msg_controllen = buffers_->control[i].bytes.size();
  }
  int count = -1;
  for (int attempt = 0; attempt < kReadAttempts && count < 0 && wanted > 0; ++attempt) {
    count = recvmmsg(socket_.get(), buffers_->messages.data(), static_cast<unsigned>(wanted),
                     MSG_DONTWAIT, nullptr);
    if (count >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) break;
    // What was sent earlier has failed; the error hides the datagrams behind it.
    if (errno != EINTR) read_error_queue();
  }
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    msghdr& header = buffers_->messages[index].msg_hdr;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr;
         item = CMSG_NXTHDR(&header, item)) {
      if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SO_RXQ_OVFL) continue;
      uint32_t total = 0;
      std::memcpy(&total, CMSG_DATA(item), sizeof total);
      note_dropped(total);
    }
    const auto from = from_socket_address(buffers_->from[index]);
    if (!from) continue;
    const size_t size = std::min<size_t>(buffers_->messages[index].msg_len, kMaxDatagram);
    batch_.push_back(
        {*from, {buffers_->bytes[index].data(), size}, (header.msg_flags & MSG_TRUNC) != 0});
  }
  return batch_;
}

void UdpSocket::note_dropped(uint32_t total) {
  dropped_ += total - dropped_total_;  // modulo 2^32, as the kernel counts
  dropped_total_ = total;
}

UdpSocket::SendResult UdpSocket::send(const Address& to, std::string_view bytes) {
  const auto address = to_socket_address(to, family_);
  if (!address) return SendResult::kFailed;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (sendto(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               address->get(), address->size) >= 0) {
      return SendResult::kSent;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return SendResult::kBufferFull;
    // With IP_RECVERR the failure of an earlier datagram, to anybody, is reported here.
    read_error_queue();
  }
  return SendResult::kFailed;
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
  read_error_queue();
  for (const Address& peer : pending_refusals_) {
    if (refused.size() < kMaxRefusals) refused.push_back(peer);
  }
  pending_refusals_.clear();
}

}  // namespace starling::agent
