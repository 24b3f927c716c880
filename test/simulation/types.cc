// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/types.h"

#include <cstdio>
#include <cstring>

namespace starling::simulation {

namespace {
constexpr uint16_t kFirstPort = 7946;
constexpr int64_t kMillion = 1'000'000;
}  // namespace

Address address_of(NodeIndex node, uint16_t moves) {
  STARLING_ASSERT(node < (1U << 24) - 1);
  const uint32_t host = node + 1;
  Address::Bytes ip{};
  ip[10] = ip[11] = 0xff;
  ip[12] = 10;
  ip[13] = static_cast<uint8_t>(host >> 16);
  ip[14] = static_cast<uint8_t>(host >> 8);
  ip[15] = static_cast<uint8_t>(host);
  return {ip, static_cast<uint16_t>(kFirstPort + moves)};
}

NodeIndex index_of(const Address& address) {
  const Address::Bytes& ip = address.ip();
  if (!address.is_v4() || ip[12] != 10) return kNoNode;
  const uint32_t host = uint32_t{ip[13]} << 16 | uint32_t{ip[14]} << 8 | ip[15];
  return host == 0 ? kNoNode : host - 1;
}

std::string time_string(TimePoint time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6fs", seconds(time - kStart));
  return text;
}

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

TimePoint LocalClock::to_local(TimePoint global) const {
  const int64_t t = (global - global_).count();
  return local_ + Duration(t + t / kMillion * skew_ppm_ + t % kMillion * skew_ppm_ / kMillion);
}

TimePoint LocalClock::to_global(TimePoint local) const {
  if (local == kNever) return kNever;
  const int64_t elapsed = (local - local_).count();
  if (elapsed <= 0) return global_;
  const int64_t rate = kMillion + skew_ppm_;
  // Off by a few nanoseconds at most, which the two loops mend.
  TimePoint global =
      global_ + Duration(elapsed / rate * kMillion + elapsed % rate * kMillion / rate);
  while (to_local(global) < local) global += Duration(1);
  while (global > global_ && to_local(global - Duration(1)) >= local) global -= Duration(1);
  return global;
}

void LocalClock::set_skew(TimePoint now, int64_t skew_ppm) {
  STARLING_ASSERT(skew_ppm > -kMillion);
  jump(now, {});
  skew_ppm_ = skew_ppm;
}

void LocalClock::jump(TimePoint now, Duration by) {
  local_ = to_local(now) + by;
  global_ = now;
}

void TraceHash::add(std::string_view bytes) {
  uint64_t state = state_ ^ bytes.size();
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    state = (state ^ word) * 0x9e3779b97f4a7c15ULL;
    state ^= state >> 29;
  }
  uint64_t tail = 0;
  std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  state_ = mix64(state ^ tail);
}

}  // namespace starling::simulation
