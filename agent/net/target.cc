// SPDX-License-Identifier: Apache-2.0
//
// The pure part of resolve.h: what the text says, without asking anybody.
#include <algorithm>
#include <charconv>
#include <optional>

#include "agent/net/resolve.h"

namespace starling::agent {

using membership::Address;

namespace {

constexpr size_t kMaxHost = 253;  // RFC 1035, in text form

tl::unexpected<Error> wrong(std::string_view text, std::string_view why) {
  // What is wrong may be a whole file given by mistake: show its beginning.
  const std::string shown(text.substr(0, 300));
  return fail(ErrorKind::kInvalid, "address \"" + shown + "\": " + std::string(why));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_host_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
         c == '_';
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || port > 65535) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(port);
}

// Nothing, or what is wrong with a name or IPv4 address.
std::optional<std::string_view> name_fault(std::string_view host) {
  if (host.empty()) return "the host is empty";
  if (host.size() > kMaxHost) return "the host is longer than 253 characters";
  if (!std::all_of(host.begin(), host.end(), is_host_character)) {
    return "the host has a character that no host name has";
  }
  std::string_view stem = host;
  if (stem.ends_with('.')) stem.remove_suffix(1);
  if (stem.empty() || stem.front() == '.' || stem.find("..") != std::string_view::npos) {
    return "the host has an empty label";
  }
  const size_t dot = stem.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? stem : stem.substr(dot + 1);
  if (std::all_of(last.begin(), last.end(), is_digit) && !Address::from_ip(host, 1)) {
    return "not an IPv4 address (needs four numbers of 0 to 255)";
  }
  return std::nullopt;
}

}  // namespace

Result<Target> parse_target(std::string_view text, uint16_t default_port) {
  Target target;
  target.port = default_port;
  std::string_view rest = text;
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (slash == 0) return wrong(text, "the member's name before \"/\" is empty");
    target.name = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
  }
  std::string_view port;
  bool has_port = false;
  bool v6 = false;
  if (rest.starts_with('[')) {
    const size_t bracket = rest.find(']');
    if (bracket == std::string_view::npos) return wrong(text, "\"[\" without \"]\"");
    std::string_view tail = rest.substr(bracket + 1);
    if (!tail.empty() && !tail.starts_with(':'))
      return wrong(text, "\":port\" expected after \"]\"");
    has_port = !tail.empty();
    port = has_port ? tail.substr(1) : tail;
    rest = rest.substr(1, bracket - 1);
    v6 = true;
  } else if (std::count(rest.begin(), rest.end(), ':') > 1) {
    v6 = true;
  } else if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    has_port = true;
    port = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  if (has_port) {
    const auto number = parse_port(port);
    if (!number) return wrong(text, "the port is not a number from 1 to 65535");
    target.port = *number;
  }
  if (v6) {
    if (rest.find('%') != std::string_view::npos) {
      return wrong(text, "IPv6 zones (%) are not supported; use a global or unique local address");
    }
    if (rest.find(':') == std::string_view::npos || !Address::from_ip(rest, 1)) {
      return wrong(text, "not an IPv6 address");
    }
  } else if (const auto fault = name_fault(rest)) {
    return wrong(text, *fault);
  }
  target.host = rest;
  return target;
}

}  // namespace starling::agent
