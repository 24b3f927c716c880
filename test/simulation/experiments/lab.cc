// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/lab.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <set>
#include <sstream>
#include <thread>

namespace starling::simulation {

Contender serf() {
  return {.name = "Serf", .memberlist = MemberlistOptions::lan()};
}

Contender starling() {
  return {.name = "Starling", .memberlist = std::nullopt};
}

std::vector<Contender> lifeguard_rows() {
  return {
      {.name = "SWIM (a5 b1)", .memberlist = MemberlistOptions::swim()},
      {.name = "LHA-Probe", .memberlist = MemberlistOptions::lha_probe()},
      {.name = "LHA-Suspicion (a5 b6)", .memberlist = MemberlistOptions::lha_suspicion()},
      {.name = "Buddy System", .memberlist = MemberlistOptions::buddy_only()},
      {.name = "Lifeguard (a5 b6)", .memberlist = MemberlistOptions::lifeguard()},
      {.name = "Serf (a4 b6)", .memberlist = MemberlistOptions::lan()},
  };
}

std::vector<Contender> starling_rows() {
  using membership::Guards;
  const std::pair<const char*, bool Guards::*> guards[] = {
      {"confirmation", &Guards::confirmation},
      {"demotion", &Guards::demotion},
      {"stall", &Guards::stall},
      {"deaf", &Guards::deaf},
      {"nacks", &Guards::nacks},
      {"refused", &Guards::refused},
      {"buddy", &Guards::buddy},
      {"adaptive round trip", &Guards::adaptive_round_trip},
  };
  std::vector<Contender> rows = {starling()};
  Contender bare = {.name = "Starling without guards", .memberlist = std::nullopt};
  for (const auto& [name, guard] : guards) {
    Contender row = {.name = std::string("Starling without ") + name, .memberlist = std::nullopt};
    row.starling.guards.*guard = false;
    bare.starling.guards.*guard = false;
    rows.push_back(std::move(row));
  }
  rows.push_back(std::move(bare));
  rows.push_back({.name = "Starling, forgiving",
                  .memberlist = std::nullopt,
                  .starling = membership::Options::forgiving()});
  return rows;
}

std::vector<Contender> chosen(std::vector<Contender> contenders, const std::string& rows) {
  if (rows.empty()) return contenders;
  std::set<std::string> names;
  std::istringstream list(rows);
  for (std::string wanted; std::getline(list, wanted, ',');) {
    const bool exact = std::any_of(contenders.begin(), contenders.end(),
                                   [&](const Contender& row) { return row.name == wanted; });
    for (const Contender& row : contenders) {
      const bool part = !exact && row.name.find(wanted) != std::string::npos;
      if (row.name == wanted || part) names.insert(row.name);
    }
  }
  std::erase_if(contenders, [&](const Contender& row) { return !names.contains(row.name); });
  return contenders;
}

// --- failures ---

void FailureLog::action(NodeIndex node, const membership::Action& action) {
  const auto* event = std::get_if<membership::MemberEvent>(&action);
  if (event == nullptr) return;
  if (event->change == membership::MemberChange::kFailed) {
    failures_.push_back({world_.now(), node, index_of(event->member.address), event->evidence});
  } else if (event->change == membership::MemberChange::kJoin) {
    ++rejoins_;
  }
}

void FailureLog::clear() {
  failures_.clear();
  rejoins_ = 0;
}

void print_failure(const FailureLog::Failure& failure, uint64_t seed, TimePoint begin,
                   bool disturbed) {
  const membership::FailureEvidence& evidence = failure.evidence;
  std::printf("seed %llu: %.3f s: %u%s declares %u failed; %u confirmations%s%s%s\n",
              static_cast<unsigned long long>(seed), seconds(failure.at - begin), failure.by,
              disturbed ? " (disturbed)" : "", failure.about, evidence.confirmations,
              evidence.refused ? ", refused" : "", evidence.declared ? ", declared by others" : "",
              evidence.isolated ? ", isolated" : "");
  std::fflush(stdout);
}

// --- traffic ---

Traffic Traffic::operator-(const Traffic& other) const {
  return {datagrams - other.datagrams, datagram_bytes - other.datagram_bytes,
          stream_messages - other.stream_messages, stream_bytes - other.stream_bytes};
}

Traffic Lab::traffic() const {
  Traffic sum;
  if (!modelled_) {
    const WorldStatistics& statistics = world.statistics();
    return {static_cast<double>(statistics.datagrams_sent),
            static_cast<double>(statistics.datagram_bytes),
            static_cast<double>(statistics.stream_messages),
            static_cast<double>(statistics.stream_bytes)};
  }
  for (NodeIndex node = 0; node < world.size(); ++node) {
    if (!world.running(node)) continue;
    const auto& traffic = dynamic_cast<const Memberlist&>(world.process(node)).traffic();
    sum.datagrams += static_cast<double>(traffic.datagrams);
    sum.datagram_bytes += static_cast<double>(traffic.datagram_bytes);
    sum.stream_messages += static_cast<double>(traffic.stream_messages);
    sum.stream_bytes += static_cast<double>(traffic.stream_bytes);
  }
  return sum;
}

uint64_t Lab::suspicions() const {
  uint64_t sum = 0;
  for (NodeIndex node = 0; modelled_ && node < world.size(); ++node) {
    if (!world.running(node)) continue;
    sum += dynamic_cast<const Memberlist&>(world.process(node)).traffic().suspicions;
  }
  return sum;
}

// --- clusters ---

namespace {

constexpr uint64_t kLabStream = 0x6c6162;  // apart from what the world draws

WorldOptions world_options(const Contender& contender, uint64_t seed, size_t known,
                           const std::function<void(WorldOptions&)>& change) {
  WorldOptions options;
  options.seed = seed;
  options.node = contender.starling;
  if (contender.memberlist) options.make_process = make_memberlist(*contender.memberlist, known);
  if (change) change(options);
  return options;
}

}  // namespace

Lab::Lab(const Contender& contender, uint64_t seed, size_t members, bool known,
         const std::function<void(WorldOptions&)>& change)
    : world(world_options(contender, seed, known ? members : 0, change)),
      log(world),
      modelled_(contender.memberlist.has_value()),
      members_(members),
      random_(mix64(seed ^ kLabStream)) {
  const Network& network = world.network();
  for (NodeIndex node = 0; node < members; ++node) {
    std::map<std::string, std::string> tags;
    // As operators do whose sites are far apart.
    if (network.model().zones > 1) tags["zone"] = "site-" + std::to_string(network.zone(node));
    world.add_node({}, std::move(tags));
  }
}

bool Lab::agreed() const {
  size_t running = 0;
  for (NodeIndex node = 0; node < world.size(); ++node) running += world.running(node) ? 1 : 0;
  for (NodeIndex node = 0; node < world.size(); ++node) {
    if (world.running(node) && world.process(node).alive_count() != running) return false;
  }
  return true;
}

bool Lab::settle() {
  if (!agreed()) {
    for (NodeIndex node = 1; node < members_; ++node) {
      world.at(world.now() + random_time(1s), [this, node] { world.join(node, {0}); });
    }
    world.run_for(1s);
    if (!world.run_while_not([this] { return agreed(); }, 120s, 250ms)) return false;
  }
  world.run_for(12s + random_time(2s));
  log.clear();
  return true;
}

void Lab::diverge(uint64_t seed) {
  world.diverge(seed);
  random_ = Random(mix64(seed ^ kLabStream));
}

Duration Lab::random_time(Duration bound) {
  return Duration(static_cast<int64_t>(random_.below(static_cast<size_t>(bound.count()))));
}

std::vector<NodeIndex> Lab::draw(size_t count) {
  std::vector<NodeIndex> nodes;
  for (NodeIndex node = 1; node < members_; ++node) nodes.push_back(node);
  return random_.sample(std::move(nodes), count);
}

// --- runs side by side ---

void run_all(const std::string& what, size_t count, unsigned jobs,
             const std::function<void(size_t)>& run) {
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) {
      run(i);
      const size_t finished = ++done;
      if (finished == count || finished % std::max<size_t>(count / 20, 1) == 0) {
        std::fprintf(stderr, "%s: %zu of %zu runs\n", what.c_str(), finished, count);
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < jobs; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace starling::simulation
