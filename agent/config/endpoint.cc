// SPDX-License-Identifier: Apache-2.0
#include "agent/config/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

using membership::Address;

constexpr size_t kLongestHost = 253;  // RFC 1035, as text

tl::unexpected<Error> bad(std::string_view text, const std::string& why) {
  return fail(ErrorKind::kInvalid, quoted(text) + " is not an address: " + why +
                                       "; write host, host:port, 1.2.3.4:7946 or [::1]:7946");
}

std::optional<Address> to_address(const addrinfo& from, uint16_t port) {
  char text[INET6_ADDRSTRLEN];
  const void* ip = nullptr;
  if (from.ai_family == AF_INET) {
    ip = &reinterpret_cast<const sockaddr_in*>(from.ai_addr)->sin_addr;
  } else if (from.ai_family == AF_INET6) {
    ip = &reinterpret_cast<const sockaddr_in6*>(from.ai_addr)->sin6_addr;
  } else {
    return std::nullopt;
  }
  if (inet_ntop(from.ai_family, ip, text, sizeof text) == nullptr) return std::nullopt;
  return Address::from_ip(text, port);
}

bool is_name_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' || byte == '_';
}

}  // namespace

Result<Endpoint> parse_endpoint(std::string_view text, uint16_t default_port) {
  std::string_view host = text;
  std::string_view port;
  bool has_port = false;
  bool literal = false;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return bad(text, "no closing bracket");
    host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return bad(text, "text after the bracket");
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
    literal = true;
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) == std::string_view::npos) {
      host = text.substr(0, colon);
      port = text.substr(colon + 1);
      has_port = true;
    } else {
      literal = true;  // IPv6 without brackets, and so without a port
    }
  }
  Endpoint endpoint{std::string(host), default_port};
  if (has_port) {
    const auto number = parse_number(port);
    if (!number || *number > 65535) return bad(text, "the port must be 0 to 65535");
    endpoint.port = static_cast<uint16_t>(*number);
  }
  if (literal && host.find('%') != std::string_view::npos) {
    return bad(text, "a zone ('%') is not supported");
  }
  if (literal && !Address::from_ip(host, 0)) return bad(text, "this is no IPv6 address");
  if (!literal && !std::all_of(host.begin(), host.end(), is_name_byte)) {
    return bad(text, "it holds characters that no host name has");
  }
  if (host.size() > kLongestHost) return bad(text, "the host name is too long");
  if (text.empty()) return bad(text, "it is empty");
  return endpoint;
}

Result<std::vector<Address>> resolve(const Endpoint& endpoint) {
  if (endpoint.host.empty()) return std::vector{*Address::from_ip("0.0.0.0", endpoint.port)};
  if (auto literal = Address::from_ip(endpoint.host, endpoint.port)) return std::vector{*literal};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* first = nullptr;
  const int error = getaddrinfo(endpoint.host.c_str(), nullptr, &hints, &first);
  if (error != 0) {
    return fail(ErrorKind::kUnavailable,
                "cannot resolve " + quoted(endpoint.host) + ": " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(first, &freeaddrinfo);
  std::vector<Address> found;
  for (const addrinfo* each = first; each != nullptr; each = each->ai_next) {
    auto address = to_address(*each, endpoint.port);
    if (address && std::find(found.begin(), found.end(), *address) == found.end()) {
      found.push_back(*address);
    }
  }
  if (found.empty()) {
    return fail(ErrorKind::kUnavailable, quoted(endpoint.host) + " has no IP address");
  }
  return found;
}

}  // namespace starling::agent::config
