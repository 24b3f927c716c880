// SPDX-License-Identifier: Apache-2.0
#include "agent/config/environment.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace starling::agent {

namespace {

std::optional<membership::Address> to_address(const sockaddr* from) {
  if (from == nullptr) return std::nullopt;
  char text[INET6_ADDRSTRLEN];
  const void* ip = nullptr;
  if (from->sa_family == AF_INET) {
    ip = &reinterpret_cast<const sockaddr_in*>(from)->sin_addr;
  } else if (from->sa_family == AF_INET6) {
    ip = &reinterpret_cast<const sockaddr_in6*>(from)->sin6_addr;
  } else {
    return std::nullopt;
  }
  if (inet_ntop(from->sa_family, ip, text, sizeof text) == nullptr) return std::nullopt;
  return membership::Address::from_ip(text, 0);
}

std::vector<InterfaceAddress> system_interfaces() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(first, &freeifaddrs);
  std::vector<InterfaceAddress> found;
  for (const ifaddrs* each = first; each != nullptr; each = each->ifa_next) {
    if ((each->ifa_flags & IFF_UP) == 0) continue;
    if (auto address = to_address(each->ifa_addr)) found.push_back({each->ifa_name, *address});
  }
  return found;
}

}  // namespace

std::optional<std::string> Environment::get(const std::string& name) const {
  if (!variable) return std::nullopt;
  auto value = variable(name);
  if (value && value->empty()) return std::nullopt;
  return value;
}

Environment Environment::of_process() {
  Environment environment;
  environment.variable = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) == 0) environment.hostname = name;
  environment.uid = geteuid();
  environment.interfaces = system_interfaces;
  return environment;
}

}  // namespace starling::agent
