// SPDX-License-Identifier: Apache-2.0
//
// Faults of processes, hosts and links, other than their end.
#include <algorithm>
#include <numeric>
#include <utility>

#include "test/simulation/world.h"

namespace starling::simulation {

void World::tell(Fault fault, NodeIndex node) {
  hash_.add(uint64_t{node} << 16 | 0xaa00 | static_cast<uint64_t>(fault));
  for (Observer* observer : observers_) observer->fault(fault, node);
}

// --- processes ---

void World::pause(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.process || host.paused) return;
  host.paused = true;
  tell(Fault::kPause, node);
}

void World::resume(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.process || !host.paused) return;
  host.paused = false;
  tell(Fault::kResume, node);
  wake(node);
}

void World::block(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.process || host.blocked) return;
  host.blocked = true;
  host.process->set_blocked(local(host), true);
  tell(Fault::kBlock, node);
}

void World::unblock(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.process || !host.blocked) return;
  host.blocked = false;
  host.process->set_blocked(local(host), false);
  tell(Fault::kUnblock, node);
  wake(node);
}

void World::slow_down(NodeIndex node, Duration cost) {
  Host& host = *hosts_[node];
  if (!host.process || host.input_cost == cost) return;
  host.input_cost = cost;
  tell(Fault::kSpeed, node);
  wake(node);
}

void World::set_clock_skew(NodeIndex node, int64_t skew_ppm) {
  Host& host = *hosts_[node];
  if (!host.process || host.clock.skew_ppm() == skew_ppm) return;
  host.clock.set_skew(now_, skew_ppm);
  tell(Fault::kClock, node);
  host.armed = kNever;
  if (!host.paused) arm(node);
}

void World::jump_clock(NodeIndex node, Duration by) {
  Host& host = *hosts_[node];
  if (!host.process || by <= Duration::zero()) return;
  host.clock.jump(now_, by);
  tell(Fault::kClockJump, node);
  host.armed = kNever;
  if (!host.paused) arm(node);
}

void World::fill_disk(NodeIndex node) {
  Host& host = *hosts_[node];
  if (host.disk_full) return;
  host.disk_full = true;
  tell(Fault::kDiskFull, node);
}

void World::free_disk(NodeIndex node) {
  Host& host = *hosts_[node];
  if (!host.disk_full) return;
  host.disk_full = false;
  tell(Fault::kDiskFree, node);
  switch (std::exchange(host.wanted, Host::Wanted::kNothing)) {
    case Host::Wanted::kNothing:
      break;
    case Host::Wanted::kWithState:
      start_process(node, true);
      break;
    case Host::Wanted::kFresh:
      start_fresh(node);
      break;
  }
}

// --- the network ---

void World::partition(const std::vector<std::vector<NodeIndex>>& groups) {
  network_.partition(groups);
  tell(Fault::kPartition, kNoNode);
}

void World::partition_zones() {
  std::vector<std::vector<NodeIndex>> zones(network_.model().zones);
  for (NodeIndex node = 0; node < size(); ++node) zones[network_.zone(node)].push_back(node);
  partition(zones);
}

void World::partition_zone(unsigned zone) {
  std::vector<NodeIndex> members;
  for (NodeIndex node = 0; node < size(); ++node) {
    if (network_.zone(node) == zone) members.push_back(node);
  }
  partition({members});
}

void World::heal() {
  network_.heal();
  tell(Fault::kHeal, kNoNode);
}

void World::change_links(const std::function<void(Network&)>& change, NodeIndex node) {
  change(network_);
  tell(Fault::kLinks, node);
}

void World::flap(NodeIndex node, Duration period) {
  Host& host = *hosts_[node];
  if (host.flap_period == period) return;
  host.flap_period = period;
  ++host.flaps;
  const bool on = period > Duration::zero();
  change_links(
      [&](Network& network) {
        network.set_unsteady(node, on);
        network.set_down(node, on);
      },
      node);
  if (on) schedule(now_ + period / 2, Kind::kFlap, node, host.flaps);
}

void World::flap_due(NodeIndex node, uint32_t flaps) {
  const Host& host = *hosts_[node];
  if (host.flaps != flaps) return;
  network_.set_down(node, !network_.wire(node).down);
  schedule(now_ + host.flap_period / 2, Kind::kFlap, node, flaps);
}

void World::clog(NodeIndex node, Duration length) {
  std::vector<NodeIndex> others(size());
  std::iota(others.begin(), others.end(), 0U);
  std::erase(others, node);
  change_links([&](Network& network) { network.set_unsteady(node, true); }, node);
  const auto each = [&](Duration from, const auto& change) {
    random_.shuffle(std::span(others));
    for (size_t i = 0; i < others.size(); ++i) {
      const Duration when =
          from + length / 2 * static_cast<int64_t>(i + 1) / static_cast<int64_t>(others.size() + 1);
      at(now_ + when, [this, change, node, other = others[i], clogs = clogs_] {
        if (clogs != clogs_) return;
        change_links([&](Network& network) { change(network, node, other); }, other);
      });
    }
  };
  each({}, [](Network& network, NodeIndex a, NodeIndex b) {
    network.cut(a, b);
    network.cut(b, a);
  });
  each(length / 2, [](Network& network, NodeIndex a, NodeIndex b) {
    network.mend(a, b);
    network.mend(b, a);
  });
  at(now_ + length, [this, node, clogs = clogs_] {
    if (clogs != clogs_) return;
    change_links([&](Network& network) { network.set_unsteady(node, false); }, node);
  });
}

void World::end_faults() {
  heal();
  ++clogs_;
  for (NodeIndex node = 0; node < size(); ++node) flap(node, {});
  change_links([this](Network& network) {
    network.reset_wires();
    network.model() = options_.links;
  });
  for (NodeIndex node = 0; node < size(); ++node) {
    const Host& host = *hosts_[node];
    free_disk(node);
    slow_down(node, {});
    if (std::abs(host.clock.skew_ppm()) > options_.clock_skew_ppm) set_clock_skew(node, 0);
    resume(node);
    unblock(node);
  }
}

}  // namespace starling::simulation
