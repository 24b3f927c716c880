// SPDX-License-Identifier: Apache-2.0
//
// What must hold when nothing disturbs the members any more.
#include <algorithm>
#include <sstream>

#include "test/simulation/checker.h"
#include "test/simulation/checker_violate.h"

namespace starling::simulation {

using membership::Member;
using membership::Status;

namespace {

/// Views that are compared in full, about.
constexpr size_t kComparedMax = 200;

bool present(Status status) {
  return status == Status::kAlive || status == Status::kSuspect || status == Status::kLeaving;
}

/// How a member as others show it differs from what it says of itself.
std::string difference(const Member& shown, const Member& self) {
  if (shown.status != Status::kAlive) return "shown " + std::string(status_name(shown.status));
  if (shown.incarnation != self.incarnation) {
    return "incarnation " + std::to_string(shown.incarnation.value) + " instead of " +
           std::to_string(self.incarnation.value);
  }
  if (shown.name != self.name) return "named " + shown.name;
  if (shown.address != self.address) return "at " + shown.address.to_string();
  if (shown.tags != self.tags) return "with other tags";
  return {};
}

}  // namespace

/// What process `a` shows against what there is.
std::string Checker::compare_views(NodeIndex a) const {
  std::unordered_map<membership::NodeId, Member> shown;
  for (Member& member : world_.node(a).members()) {
    const membership::NodeId id = member.id;
    shown.emplace(id, std::move(member));
  }
  for (NodeIndex b = 0; b < world_.size(); ++b) {
    if (!world_.usable(b)) continue;
    const Member self = world_.node(b).self();
    const auto it = shown.find(self.id);
    const std::string wrong = it == shown.end() ? "unknown" : difference(it->second, self);
    if (!wrong.empty()) return name(a) + " has " + name(b) + " " + wrong;
  }
  for (const auto& [id, number] : numbers_) {  // the order decides only which is named
    NodeIndex subject = kNoNode;
    if (running_member(id, &subject)) continue;
    const auto it = shown.find(id);
    if (it != shown.end() && present(it->second.status)) {
      return name(a) + " has the ended process of " + name(subject) + " as " +
             std::string(status_name(it->second.status));
    }
  }
  return {};
}

std::string Checker::disagreement() const {
  const std::vector<NodeIndex> nodes = world_.usable_nodes();
  if (nodes.empty()) return {};
  const membership::Node& first = world_.node(nodes.front());
  for (const NodeIndex node : nodes) {
    const membership::Node& other = world_.node(node);
    if (other.member_fingerprint() != first.member_fingerprint()) {
      std::string view = compare_views(node);
      if (view.empty()) view = compare_views(nodes.front());
      return "member fingerprints of " + name(nodes.front()) + " and " + name(node) +
             " differ: " + (view.empty() ? "in what they hold of members that are gone" : view);
    }
    if (other.event_fingerprint() != first.event_fingerprint()) {
      return "event fingerprints of " + name(nodes.front()) + " and " + name(node) + " differ";
    }
  }
  for (const NodeIndex node : compared_nodes()) {
    if (std::string wrong = compare_views(node); !wrong.empty()) return wrong;
  }
  return {};
}

/// Equal fingerprints say that all hold the same; that they show it is seen at some.
std::vector<NodeIndex> Checker::compared_nodes() const {
  std::vector<NodeIndex> nodes = world_.usable_nodes();
  const size_t stride = 1 + nodes.size() / kComparedMax;
  size_t kept = 0;
  for (size_t i = 0; i < nodes.size(); i += stride) nodes[kept++] = nodes[i];
  nodes.resize(kept);
  return nodes;
}

/// No two members that are up go by one name.
void Checker::check_names(NodeIndex node) {
  std::set<std::string, std::less<>> names;
  for (const Member& member : world_.node(node).members()) {
    if (present(member.status) && !names.insert(member.name).second) {
      violate("name-unique", node, "shows two members as ", member.name);
    }
  }
}

Duration Checker::require_convergence(Duration bound) {
  const TimePoint begin = world_.now();
  std::string wrong;
  const bool converged = world_.run_while_not(
      [&] {
        wrong = disagreement();
        return wrong.empty();
      },
      bound, 100ms);
  if (!converged) {
    violate("convergence", kNoNode, "not within ", seconds(bound), " s: ", wrong);
  }
  return world_.now() - begin;
}

void Checker::check_event(const membership::MessageId& id, const EventOutcome& event) {
  const Host& origin = world_.host(event.origin);
  bool alive_somewhere = origin.node != nullptr && origin.boot == event.boot;
  for (NodeIndex node = 0; node < event.deliveries.size() && !alive_somewhere; ++node) {
    const EventOutcome::Delivery& delivery = event.deliveries[node];
    alive_somewhere = world_.usable(node) && delivery.line == watched(node).line &&
                      (delivery.kept || delivery.boot == watched(node).boot);
  }
  if (!alive_somewhere) return;  // all who ever had it are gone
  for (NodeIndex node = 0; node < event.expected.size(); ++node) {
    const Watched& process = watched(node);
    if (event.expected[node] == 0 || event.expected[node] != process.line) continue;
    if (!world_.usable(node)) continue;
    const EventOutcome::Delivery& delivery = event.deliveries[node];
    if (delivery.line != process.line) {
      violate("event-delivered", node, id.to_string(), " of ", name(event.origin), ", sent ",
              time_string(event.sent), ", never arrived");
    } else if (delivery.handled == 0) {
      violate("event-delivered", node, id.to_string(), " of ", name(event.origin), ", sent ",
              time_string(event.sent), ", was kept from the handlers");
    }
  }
}

void Checker::check_quiescence() {
  if (const std::string wrong = disagreement(); !wrong.empty()) {
    violate("agreement", kNoNode, wrong);
  }
  for (const auto& [id, event] : events_) check_event(id, event);
  for (const auto& [id, query] : queries_) check_query(id, query);
  settle_bursts(true);
  for (const NodeIndex node : compared_nodes()) {
    check_names(node);
    for (const Member& member : world_.node(node).members()) {
      NodeIndex subject = kNoNode;
      if (running_member(member.id, &subject) || subject == kNoNode) continue;
      const Watched& gone = watched(subject);
      const bool long_gone =
          gone.stopped_at != kNever && gone.stopped_at + options_.detection_bound < world_.now();
      if (long_gone && present(member.status)) {
        violate("completeness", node, "has ", name(subject), ", gone since ",
                time_string(gone.stopped_at), ", as ", status_name(member.status));
      }
    }
  }
}

}  // namespace starling::simulation
