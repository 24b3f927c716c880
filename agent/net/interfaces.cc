// SPDX-License-Identifier: Apache-2.0
//
// The part of resolve.h that looks at this host's own interfaces.
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "agent/net/resolve.h"
#include "agent/net/socket.h"

namespace starling::agent {

using membership::Address;

namespace {

// RFC 1918, and RFC 6598 (carrier-grade NAT), which Serf takes for private too.
bool is_private_v4(const Address& address) {
  const auto& ip = address.ip();
  const uint8_t first = ip[12];
  const uint8_t second = ip[13];
  return first == 10 || (first == 172 && second >= 16 && second < 32) ||
         (first == 192 && second == 168) || (first == 100 && second >= 64 && second < 128);
}

bool is_global_v6(const Address& address) {
  return !address.is_v4() && (address.ip()[0] & 0xe0) == 0x20;  // 2000::/3
}

}  // namespace

Result<Address> advertise_address(const Address& bind) {
  if (!bind.is_unspecified()) return bind;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) {
    return fail(ErrorKind::kInternal, "cannot list network interfaces: " + error_text(errno) +
                                          "; say which address others should use with -advertise");
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  std::optional<Address> global_v6;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr || (item->ifa_flags & IFF_UP) == 0) continue;
    const int family = item->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, item->ifa_addr,
                family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    const auto found = from_socket_address(storage);
    if (!found) continue;
    const Address address(found->ip(), bind.port());
    if (address.is_v4() && is_private_v4(address)) return address;
    if (!global_v6 && is_global_v6(address)) global_v6 = address;
  }
  if (global_v6 && !bind.is_v4()) return *global_v6;
  return fail(ErrorKind::kNotFound,
              "no private IPv4 address found on this host's interfaces to tell other agents; say "
              "which address they should use with -advertise");
}

}  // namespace starling::agent
