// SPDX-License-Identifier: Apache-2.0
#include "agent/net/service_records.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

namespace starling::agent {

namespace {

constexpr int kSecondsPerTry = 2;
constexpr int kTries = 1;
constexpr size_t kLargestAnswer = 65'536;
constexpr size_t kFixedPart = 6;  // priority, weight, port

struct Record {
  unsigned priority = 0;
  unsigned weight = 0;
  Target target;
};

/// A resolver of our own: glibc's default one belongs to the thread and forgets these settings.
class State {
 public:
  explicit State(const std::optional<membership::Address>& server) {
    ready_ = res_ninit(&state_) == 0;
    state_.retrans = kSecondsPerTry;
    state_.retry = kTries;
    if (!server) return;
    sockaddr_in& first = state_.nsaddr_list[0];
    first = {};
    first.sin_family = AF_INET;
    first.sin_port = htons(server->port());
    const std::string ip = server->wire_ip();
    if (ip.size() == sizeof first.sin_addr) std::memcpy(&first.sin_addr, ip.data(), ip.size());
    state_.nscount = 1;
  }
  ~State() {
    if (ready_) res_nclose(&state_);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }
  struct __res_state* get() { return &state_; }

 private:
  struct __res_state state_ = {};
  bool ready_ = false;
};

std::optional<Record> read_record(const ns_msg& message, const ns_rr& record) {
  if (ns_rr_type(record) != ns_t_srv || ns_rr_rdlen(record) <= kFixedPart) return std::nullopt;
  const uint8_t* data = ns_rr_rdata(record);
  std::array<char, NS_MAXDNAME> host{};
  if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), data + kFixedPart, host.data(),
                         host.size()) < 0) {
    return std::nullopt;
  }
  Record found{ns_get16(data), ns_get16(data + 2), {"", host.data(), 0}};
  found.target.port = static_cast<uint16_t>(ns_get16(data + 4));
  const std::string& name = found.target.host;
  if (name.empty() || name == "." || found.target.port == 0) return std::nullopt;  // "not here"
  return found;
}

}  // namespace

bool is_service(std::string_view host) {
  if (!host.starts_with('_')) return false;
  const size_t dot = host.find('.');
  const std::string_view rest = dot == std::string_view::npos ? "" : host.substr(dot);
  return rest.starts_with("._tcp.") || rest.starts_with("._udp.");
}

Result<std::vector<Target>> look_up_service(const std::string& name,
                                            const std::optional<membership::Address>& server) {
  State state(server);
  if (!state.ready()) {
    return fail(ErrorKind::kUnavailable,
                "cannot look up service \"" + name + "\": /etc/resolv.conf cannot be read");
  }
  std::vector<uint8_t> answer(kLargestAnswer);
  const int size = res_nquery(state.get(), name.c_str(), ns_c_in, ns_t_srv, answer.data(),
                              static_cast<int>(answer.size()));
  const int error = state.get()->res_h_errno;
  if (size < 0 && (error == HOST_NOT_FOUND || error == NO_DATA)) {
    return fail(ErrorKind::kNotFound, "no hosts found for service \"" + name + "\"");
  }
  ns_msg message;
  if (size < 0 || ns_initparse(answer.data(), std::min<int>(size, kLargestAnswer), &message) != 0) {
    return fail(ErrorKind::kUnavailable,
                "cannot look up service \"" + name + "\": no server of /etc/resolv.conf answers");
  }
  std::vector<Record> records;
  for (int i = 0; i < ns_msg_count(message, ns_s_an); ++i) {
    ns_rr record;
    if (ns_parserr(&message, ns_s_an, i, &record) != 0) break;
    if (auto read = read_record(message, record)) records.push_back(std::move(*read));
  }
  std::ranges::sort(records, [](const Record& a, const Record& b) {
    return a.priority != b.priority ? a.priority < b.priority : a.weight > b.weight;
  });
  if (records.size() > kMaxServiceHosts) records.resize(kMaxServiceHosts);
  std::vector<Target> targets;
  targets.reserve(records.size());
  for (Record& record : records) targets.push_back(std::move(record.target));
  if (targets.empty()) {
    return fail(ErrorKind::kNotFound, "no hosts found for service \"" + name + "\"");
  }
  return targets;
}

}  // namespace starling::agent
