// SPDX-License-Identifier: Apache-2.0
//
// Processes: their life, their commands, and what they ask for.
#include <cstring>
#include <utility>

#include "membership/swim/description.h"
#include "test/simulation/node_process.h"
#include "test/simulation/world.h"
#include "test/stand_in_keys.h"

namespace starling::simulation {

namespace {

membership::NodeId make_id(uint64_t seed, NodeIndex node, uint32_t identity) {
  membership::NodeId id;
  const uint64_t words[2] = {mix64(seed ^ mix64(uint64_t{node} << 32 | identity)),
                             mix64(~seed ^ mix64(uint64_t{identity} << 32 | node))};
  std::memcpy(id.bytes.data(), words, sizeof words);
  return id;
}

auto only_membership() {
  return fail(ErrorKind::kInvalid, "this process knows nothing but membership");
}

Duration uniform(Random& random, Duration min, Duration max) {
  if (max <= min) return min;
  return min +
         Duration(static_cast<int64_t>(random.below(static_cast<size_t>((max - min).count()))));
}

}  // namespace

MakeProcess World::production_nodes() {
  // One pool for all: thousands of views of one cluster fit into memory.
  auto descriptions = std::make_shared<membership::DescriptionPool>();
  return [descriptions](NodeIndex /*node*/, const membership::Options& options,
                        const membership::Identity& identity, Random random, TimePoint now,
                        membership::Restored restored) -> std::unique_ptr<Process> {
    return std::make_unique<NodeProcess>(options, identity, random, now, std::move(restored),
                                         descriptions);
  };
}

// --- life ---

NodeIndex World::add_node(std::string name, std::map<std::string, std::string> tags) {
  return add_node(std::move(name), std::move(tags), options_.node);
}

NodeIndex World::add_node(std::string name, std::map<std::string, std::string> tags,
                          const membership::Options& options) {
  const auto node = static_cast<NodeIndex>(hosts_.size());
  hosts_.push_back(std::make_unique<Host>());
  Host& host = *hosts_.back();
  host.disk = Disk(written_);
  host.name = name.empty() ? "node-" + std::to_string(node) : std::move(name);
  host.tags = std::move(tags);
  host.options = options;
  new_identity(node);
  start_process(node, false);
  return node;
}

void World::new_identity(NodeIndex node) {
  Host& host = *hosts_[node];
  host.id = make_id(options_.seed, node, host.identities++);
  host.disk.wipe();
  host.joined = kNever;
}

void World::start_process(NodeIndex node, bool with_state) {
  Host& host = *hosts_[node];
  STARLING_ASSERT(!host.process);
  ++host.boot;
  ++host.epoch;
  host.address = address_of(node, host.moves);
  host.started = now_;
  host.up = true;
  host.paused = host.blocked = host.leaving = host.left = host.join_pending = false;
  host.working = host.timer_next = false;
  host.input_cost = {};
  host.wanted = Host::Wanted::kNothing;
  host.armed = kNever;
  const int skew_range = 2 * options_.clock_skew_ppm + 1;
  host.clock = LocalClock(
      uniform(random_, 1000s, 100000s),
      static_cast<int>(random_.below(static_cast<size_t>(skew_range))) - options_.clock_skew_ppm);
  const uint64_t seed = mix64(options_.seed ^ mix64(uint64_t{node} << 32 | host.boot));
  host.process = options_.make_process(
      node, host.options,
      membership::Identity{host.id, host.epoch, host.name, host.address, host.tags,
                           std::make_shared<test::StandInKeys>(host.id)},
      Random(seed), local(host), with_state ? host.disk.restore() : membership::Restored{});
  host.node = host.process->node();
  for (Observer* observer : observers_) observer->process_started(node, with_state);
  schedule(now_ + uniform(random_, Duration(1), options_.sweep_interval), Kind::kSweep, node,
           host.boot);
  settle(node);
}

void World::stop_process(NodeIndex node, StopKind kind) {
  Host& host = *hosts_[node];
  if (!host.process) return;
  for (Observer* observer : observers_) observer->process_stopping(node, kind);
  host.up = kind != StopKind::kHostDown;
  host.left = kind == StopKind::kLeft;
  host.process.reset();
  host.node = nullptr;
  host.paused = host.blocked = false;
  host.waiting.clear();
  host.held.clear();
  host.waiting_bytes = host.held_bytes = 0;
  host.armed = kNever;
  streams_.process_died(node, host.up);
  hash_.add(uint64_t{node} << 8 | static_cast<uint64_t>(kind));
}

void World::crash(NodeIndex node, StopKind kind) {
  stop_process(node, kind);
}

void World::restart(NodeIndex node) {
  stop_process(node, StopKind::kCrash);
  Host& host = *hosts_[node];
  if (host.disk_full) {
    host.wanted = Host::Wanted::kWithState;
  } else {
    start_process(node, true);
  }
}

void World::restart_moved(NodeIndex node) {
  ++hosts_[node]->moves;
  restart(node);
}

void World::restart_fresh(NodeIndex node, std::vector<NodeIndex> seeds) {
  stop_process(node, StopKind::kCrash);
  Host& host = *hosts_[node];
  host.seeds = std::move(seeds);
  if (host.disk_full) {
    host.wanted = Host::Wanted::kFresh;
  } else {
    start_fresh(node);
  }
}

void World::start_fresh(NodeIndex node) {
  new_identity(node);
  start_process(node, false);
  join(node, hosts_[node]->seeds);
}

// --- commands ---

void World::join(NodeIndex node, std::vector<NodeIndex> seeds, bool replay) {
  Host& host = *hosts_[node];
  STARLING_ASSERT(usable(node));
  host.seeds = std::move(seeds);
  host.replay = replay;
  std::vector<Address> addresses;
  for (const NodeIndex seed : host.seeds) {
    if (seed != node) addresses.push_back(hosts_[seed]->address);
  }
  if (addresses.empty()) return;
  host.process->join(local(host), addresses, replay);
  settle(node);
}

void World::retry_join(NodeIndex node, uint32_t boot) {
  Host& host = *hosts_[node];
  if (!host.process || host.boot != boot) return;
  host.join_pending = false;
  if (host.joined != kNever || host.leaving) return;
  if (host.paused || host.blocked) {
    host.join_pending = true;
    schedule(now_ + options_.join_retry, Kind::kJoinRetry, node, boot);
    return;
  }
  join(node, host.seeds, host.replay);
}

void World::leave(NodeIndex node) {
  Host& host = *hosts_[node];
  STARLING_ASSERT(usable(node));
  host.leaving = true;
  for (Observer* observer : observers_) observer->leave_started(node);
  host.process->leave(local(host));
  settle(node);
}

Result<void> World::force_leave(NodeIndex by, const std::string& name, bool prune) {
  STARLING_ASSERT(usable(by));
  if (hosts_[by]->node == nullptr) return only_membership();
  for (Observer* observer : observers_) observer->force_left(by, name);
  auto result = hosts_[by]->node->force_leave(local(*hosts_[by]), name, prune);
  settle(by);
  return result;
}

Result<void> World::set_tags(NodeIndex node, std::map<std::string, std::string> tags) {
  STARLING_ASSERT(usable(node));
  Host& host = *hosts_[node];
  if (host.node == nullptr) return only_membership();
  auto result = host.node->set_tags(local(host), tags);
  if (result) host.tags = std::move(tags);
  settle(node);
  return result;
}

Result<membership::MessageId> World::send_event(NodeIndex node, const std::string& name,
                                                const std::string& payload, bool coalesce) {
  STARLING_ASSERT(usable(node));
  Host& host = *hosts_[node];
  const auto send = [&]() -> Result<membership::MessageId> {
    if (host.node != nullptr) return host.node->send_event(local(host), name, payload, coalesce);
    const membership::MessageId id{{}, 0, ++model_events_};
    const size_t bytes = name.size() + payload.size();
    if (!host.process->send_event(local(host), id.sequence, bytes)) return only_membership();
    return id;
  };
  auto id = send();
  if (id) {
    for (Observer* observer : observers_) observer->event_accepted(node, *id, name, payload);
  }
  settle(node);
  return id;
}

Result<membership::ConfirmHandle> World::confirm_event(NodeIndex node,
                                                       const membership::MessageId& event,
                                                       Duration timeout) {
  STARLING_ASSERT(usable(node));
  Host& host = *hosts_[node];
  if (host.node == nullptr) return only_membership();
  auto handle = host.node->confirm_event(local(host), event, timeout);
  settle(node);
  return handle;
}

Result<membership::QueryHandle> World::send_query(NodeIndex node,
                                                  const membership::QueryOptions& query) {
  STARLING_ASSERT(usable(node));
  Host& host = *hosts_[node];
  if (host.node == nullptr) return only_membership();
  auto handle = host.node->send_query(local(host), query);
  if (handle) {
    for (Observer* observer : observers_) observer->query_started(node, *handle);
  }
  settle(node);
  return handle;
}

void World::cancel_query(NodeIndex node, const membership::MessageId& query) {
  STARLING_ASSERT(usable(node) && hosts_[node]->node != nullptr);
  for (Observer* observer : observers_) observer->query_cancelled(node, query);
  hosts_[node]->node->cancel_query(local(*hosts_[node]), query);
  settle(node);
}

// --- views ---

const membership::Node& World::node(NodeIndex node) const {
  STARLING_ASSERT(hosts_[node]->node);
  return *hosts_[node]->node;
}

const Process& World::process(NodeIndex node) const {
  STARLING_ASSERT(hosts_[node]->process);
  return *hosts_[node]->process;
}

bool World::usable(NodeIndex node) const {
  const Host& host = *hosts_[node];
  return host.process && !host.paused && !host.blocked && !host.leaving;
}

std::vector<NodeIndex> World::usable_nodes() const {
  std::vector<NodeIndex> nodes;
  for (NodeIndex node = 0; node < hosts_.size(); ++node) {
    if (usable(node)) nodes.push_back(node);
  }
  return nodes;
}

// --- actions ---

void World::settle(NodeIndex node) {
  Host& host = *hosts_[node];
  const uint32_t boot = host.boot;
  bool keep = false;
  for (membership::Actions actions = host.process->take_actions(); !actions.empty();
       actions = host.process->take_actions()) {
    bool done = false;
    for (membership::Action& action : actions) {
      if (auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
        for (Observer* observer : sent_observers_) observer->action(node, action);
        if (!host.blocked || may_send(host, action)) send_datagram(node, *datagram);
        continue;
      }
      hash_action(node, action);
      for (Observer* observer : observers_) observer->action(node, action);
      if (!host.disk_full) host.disk.apply(action);
      keep = keep || std::holds_alternative<membership::UserEventArrived>(action) ||
             std::holds_alternative<membership::QueryArrived>(action) ||
             std::holds_alternative<membership::MemberEvent>(action);
      done = done || std::holds_alternative<membership::LeaveDone>(action);
      if (!host.blocked || may_send(host, action)) carry_out(node, action);
    }
    if (done) {
      stop_process(node, StopKind::kLeft);
      return;
    }
    STARLING_ASSERT(host.process && host.boot == boot);
  }
  if (keep && host.node != nullptr && !host.disk_full) host.disk.save_clocks(host.node->clocks());
  arm(node);
}

void World::send_raw(NodeIndex from, const Address& to, std::string bytes) {
  membership::SendDatagram datagram{to, std::move(bytes)};
  send_datagram(from, datagram);
}

bool World::may_send(Host& host, membership::Action& action) {
  const auto* datagram = std::get_if<membership::SendDatagram>(&action);
  const bool sends = datagram != nullptr ||
                     std::holds_alternative<membership::OpenStream>(action) ||
                     std::holds_alternative<membership::SendStream>(action) ||
                     std::holds_alternative<membership::CloseStream>(action);
  if (!sends) return true;
  if (datagram != nullptr) {
    if (host.held_bytes + datagram->bytes.size() > options_.socket_buffer) {
      ++statistics_.datagrams_overflowed;
      return false;
    }
    host.held_bytes += datagram->bytes.size();
  }
  host.held.push_back(std::move(action));
  return false;
}

void World::carry_out(NodeIndex node, membership::Action& action) {
  Host& host = *hosts_[node];
  if (auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
    send_datagram(node, *datagram);
  } else if (auto* open = std::get_if<membership::OpenStream>(&action)) {
    streams_.open(node, host.address, open->stream, open->to, open->timeout);
  } else if (auto* send = std::get_if<membership::SendStream>(&action)) {
    ++statistics_.stream_messages;
    statistics_.stream_bytes += send->bytes.size();
    streams_.send(node, send->stream, std::move(send->bytes));
  } else if (auto* close = std::get_if<membership::CloseStream>(&action)) {
    streams_.close(node, close->stream);
  } else if (auto* query = std::get_if<membership::QueryArrived>(&action)) {
    query_arrived(node, *query);
  } else if (auto* tried = std::get_if<membership::JoinTried>(&action)) {
    if (tried->ok) {
      if (host.joined == kNever) host.joined = now_;
    } else if (host.joined == kNever && !host.join_pending) {
      host.join_pending = true;
      schedule(now_ + options_.join_retry, Kind::kJoinRetry, node, host.boot);
    }
  } else if (auto* event = std::get_if<membership::MemberEvent>(&action)) {
    const bool other = event->member.id != host.id;
    if (other && event->change == membership::MemberChange::kJoin && host.joined == kNever) {
      host.joined = now_;
    }
  }
}

void World::query_arrived(NodeIndex node, const membership::QueryArrived& query) {
  std::optional<HandlerResult> result;
  if (query_handler_) {
    result = query_handler_(*this, node, query);
  } else {
    membership::Answer answer;
    answer.payload = hosts_[node]->name + ":" + query.payload;
    result = HandlerResult{uniform(random_, options_.handler_time_min, options_.handler_time_max),
                           std::move(answer)};
  }
  if (!result) return;
  std::vector<HandlerResult> results = std::move(result->others);
  results.push_back(std::move(*result));
  for (HandlerResult& one : results) {
    schedule(now_ + one.delay, Kind::kAnswer, node,
             answers_.put({hosts_[node]->boot, query.id, std::move(one.answer)}));
  }
}

void World::hash_action(NodeIndex node, const membership::Action& action) {
  if (std::holds_alternative<membership::Trace>(action)) return;
  hash_.add(uint64_t{node} << 32 | action.index());
  if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    hash_.add(member->member.id.hash() ^ member->member.incarnation.value);
    hash_.add(static_cast<uint64_t>(member->change));
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    hash_.add(event->id.hash() ^ event->ltime);
    hash_.add(event->payload);
  } else if (const auto* answered = std::get_if<membership::QueryAnswered>(&action)) {
    hash_.add(answered->from);
    hash_.add(answered->payload);
  } else if (const auto* send = std::get_if<membership::SendStream>(&action)) {
    hash_.add(send->bytes);
  }
}

}  // namespace starling::simulation
