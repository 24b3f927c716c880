// SPDX-License-Identifier: Apache-2.0
#include "agent/statsd.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace starling::agent {

namespace {

using asio::ip::udp;

// Sections of `info` whose numbers only grow, but for these.
constexpr auto kSections =
    std::to_array<std::string_view>({"drops", "handlers", "network", "protocol", "serf", "store"});
constexpr auto kGauges =
    std::to_array<std::string_view>({"handlers.running", "handlers.waiting", "network.streams_now",
                                     "protocol.longest_stall_ms", "store.queued"});
constexpr std::string_view kSerf = "serf.";  // sizes and clocks

bool is_gauge(std::string_view name) {
  return name.starts_with(kSerf) || std::ranges::find(kGauges, name) != kGauges.end();
}

/// What separates things in statsd, or names from each other, becomes '_'.
std::string clean(std::string_view text) {
  std::string name(text);
  std::ranges::replace_if(
      name,
      [](char c) { return c == '.' || c == ':' || c == '|' || c == '@' || c <= ' ' || c == 127; },
      '_');
  return name;
}

std::vector<std::string> pack(const std::vector<std::string>& lines) {
  std::vector<std::string> datagrams;
  for (const std::string& line : lines) {
    if (datagrams.empty() || datagrams.back().size() + line.size() + 1 > Statsd::kDatagram) {
      datagrams.emplace_back();
    }
    datagrams.back() += line + "\n";
  }
  return datagrams;
}

udp::socket open(asio::io_context& io, const udp& protocol) {
  udp::socket socket(io);
  asio::error_code error;
  socket.open(protocol, error);  // a host without this protocol: sending fails, and is counted
  if (!error) socket.non_blocking(true, error);
  return socket;
}

}  // namespace

StatsdLines::StatsdLines(std::string_view host) : prefix_("serf-agent." + clean(host) + ".") {}

std::vector<std::string> StatsdLines::update(const control::InfoReply& info) {
  std::vector<std::string> lines;
  for (const control::InfoSection& section : info.sections()) {
    if (std::ranges::find(kSections, section.name()) == kSections.end()) continue;
    for (const control::KeyValue& pair : section.values()) {
      const std::string& text = pair.value();
      uint64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc{} || end != text.data() + text.size()) continue;
      const std::string name = section.name() + "." + pair.key();
      if (is_gauge(name)) {
        lines.push_back(prefix_ + name + ":" + text + "|g");
        continue;
      }
      const uint64_t before = std::exchange(told_[name], value);
      if (value <= before) continue;
      lines.push_back(prefix_ + name + ":" + std::to_string(value - before) + "|c");
    }
  }
  return lines;
}

Statsd::Statsd(asio::io_context& io, Log& log, Options options,
               std::function<control::InfoReply()> info)
    : log_(log),
      options_(std::move(options)),
      info_(std::move(info)),
      lines_(options_.host),
      resolver_(io),
      v4_(open(io, udp::v4())),
      v6_(open(io, udp::v6())),
      timer_(io) {
  later();
}

void Statsd::later() {
  timer_.expires_after(options_.interval);
  timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    tell();
    later();
  });
}

void Statsd::tell() {
  std::vector<std::string> datagrams = pack(lines_.update(info_()));
  if (datagrams.size() > kMaxDatagrams) {
    dropped_ += datagrams.size() - kMaxDatagrams;
    datagrams.resize(kMaxDatagrams);
  }
  for (const std::string& server : options_.servers) {
    resolver_.resolve(server, [this, datagrams, server](const auto& addresses) {
      if (addresses) {
        unreachable_ = false;
        return send(addresses->front(), datagrams);
      }
      dropped_ += datagrams.size();
      if (std::exchange(unreachable_, true)) return;
      log_.warn("statsd", server + ": " + addresses.error().message +
                              ": it is told nothing until it is found");
    });
  }
}

void Statsd::send(const membership::Address& to, const std::vector<std::string>& datagrams) {
  asio::error_code error;
  const bool v4 = to.is_v4();
  const udp::endpoint endpoint(asio::ip::make_address(to.ip_string(), error), to.port());
  for (const std::string& datagram : datagrams) {
    if (!error) (v4 ? v4_ : v6_).send_to(asio::buffer(datagram), endpoint, 0, error);
    if (error) ++dropped_;
    error.clear();
  }
}

}  // namespace starling::agent
