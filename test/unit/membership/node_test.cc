// SPDX-License-Identifier: Apache-2.0
//
// The door: two or three nodes with a wire of zero length between them. Everything larger is the
// simulator's.
#include "membership/node.h"

#include <deque>

#include "membership/limits.h"
#include "proto/gossip.pb.h"
#include "test/catch.h"
#include "test/unit/membership/fixture.h"

using namespace std::chrono_literals;
namespace proto = starling::proto;
using namespace starling::membership;  // NOLINT(google-build-using-namespace)
using test::identity_of;

namespace {

struct Cluster {
  explicit Cluster(uint32_t count) {
    for (uint32_t i = 1; i <= count; ++i) {
      nodes.push_back(std::make_unique<Node>(Options::lan(), identity_of(i), Random(i), now));
    }
  }

  /// Carries actions out until nobody asks for anything, then lets time pass.
  void run_for(Duration duration) {
    const TimePoint end = now + duration;
    for (;;) {
      carry_out();
      TimePoint next = kNever;
      for (const auto& node : nodes) next = std::min(next, node->next_deadline());
      if (next > end) break;
      now = std::max(now, next);
      for (const auto& node : nodes) {
        if (node->next_deadline() <= now) node->advance(now);
      }
    }
    now = end;
  }

  void carry_out() {
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t i = 0; i < nodes.size(); ++i) {
        for (Action& action : nodes[i]->take_actions()) {
          moved = true;
          carry_out(i, action);
        }
      }
    }
  }

  void carry_out(size_t from, Action& action) {
    const Address own = nodes[from]->identity().address;
    if (auto* datagram = std::get_if<SendDatagram>(&action)) {
      if (Node* node = at(datagram->to)) node->receive_datagram(now, own, datagram->bytes);
    } else if (auto* open = std::get_if<OpenStream>(&action)) {
      Node* node = at(open->to);
      if (node == nullptr) {
        nodes[from]->stream_closed(now, open->stream, StreamEnd::kRefused);
        return;
      }
      const StreamId accepted = kFirstAcceptedStream + next_stream++;
      links[{from, open->stream}] = {index(node), accepted};
      links[{index(node), accepted}] = {from, open->stream};
      node->stream_accepted(now, accepted, own);
      nodes[from]->stream_opened(now, open->stream);
    } else if (auto* send = std::get_if<SendStream>(&action)) {
      const auto link = links.find({from, send->stream});
      if (link == links.end()) return;
      nodes[link->second.first]->receive_stream(now, link->second.second, send->bytes);
    } else if (auto* close = std::get_if<CloseStream>(&action)) {
      const auto link = links.find({from, close->stream});
      if (link == links.end()) return;
      const auto other = link->second;
      links.erase(link);
      links.erase(other);
      nodes[other.first]->stream_closed(now, other.second, StreamEnd::kClosed);
    } else {
      happened.emplace_back(from, std::move(action));
    }
  }

  Node* at(const Address& address) {
    for (const auto& node : nodes) {
      if (node->identity().address == address) return node.get();
    }
    return nullptr;
  }
  size_t index(const Node* node) const {
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].get() == node) return i;
    }
    return nodes.size();
  }
  template <typename T>
  std::vector<std::pair<size_t, T>> all() const {
    std::vector<std::pair<size_t, T>> found;
    for (const auto& [node, action] : happened) {
      if (const auto* kind = std::get_if<T>(&action)) found.emplace_back(node, *kind);
    }
    return found;
  }

  TimePoint now{};
  std::vector<std::unique_ptr<Node>> nodes;
  std::map<std::pair<size_t, StreamId>, std::pair<size_t, StreamId>> links;
  uint64_t next_stream = 0;
  std::vector<std::pair<size_t, Action>> happened;
};

void join_all(Cluster& cluster) {
  for (size_t i = 1; i < cluster.nodes.size(); ++i) {
    cluster.nodes[i]->join(cluster.now, {cluster.nodes[0]->identity().address}, false);
  }
  cluster.run_for(1s);
}

}  // namespace

TEST_CASE("nodes that join know each other and agree") {
  Cluster cluster(3);
  join_all(cluster);
  for (const auto& node : cluster.nodes) {
    REQUIRE(node->members().size() == 3);
    CHECK(node->member_fingerprint() == cluster.nodes[0]->member_fingerprint());
  }
  CHECK(cluster.all<JoinTried>().size() == 2);
  for (const auto& [node, tried] : cluster.all<JoinTried>()) CHECK(tried.ok);
}

TEST_CASE("joining nobody and oneself says why") {
  Cluster cluster(1);
  cluster.nodes[0]->join(cluster.now, {test::address_of(99)}, false);
  cluster.nodes[0]->join(cluster.now, {cluster.nodes[0]->identity().address}, false);
  cluster.run_for(1s);
  const auto tried = cluster.all<JoinTried>();
  REQUIRE(tried.size() == 2);
  for (const auto& [node, result] : tried) {
    CHECK_FALSE(result.ok);
    CHECK_FALSE(result.error.empty());
  }
}

TEST_CASE("an event reaches every member once and the sender too") {
  Cluster cluster(3);
  join_all(cluster);
  REQUIRE(cluster.nodes[1]->send_event(cluster.now, "deploy", "v1", false).has_value());
  cluster.run_for(1s);
  const auto arrived = cluster.all<UserEventArrived>();
  REQUIRE(arrived.size() == 3);
  for (const auto& [node, event] : arrived) {
    CHECK(event.name == "deploy");
    CHECK(event.payload == "v1");
  }
}

TEST_CASE("an authorization travels with an event whatever its size and with a query") {
  Cluster cluster(3);
  join_all(cluster);
  const std::string signature(kMaxAuthorization, '\x80');
  size_t sent = 0;
  for (const size_t size : {size_t{2}, kMaxInlinePayload - 6, size_t{5000}}) {
    CAPTURE(size);
    const std::string payload(size, 'v');
    REQUIRE(cluster.nodes[1]->send_event(cluster.now, "deploy", payload, false, signature));
    cluster.run_for(2s);
    const auto arrived = cluster.all<UserEventArrived>();
    REQUIRE(arrived.size() == 3 * ++sent);
    for (size_t i = 3 * (sent - 1); i < arrived.size(); ++i) {
      const UserEventArrived& event = arrived[i].second;
      proto::UserEvent record;
      REQUIRE(record.ParseFromString(event.record));
      CHECK(record.authorization() == signature);
      CHECK(event.payload == payload);
    }
  }
  QueryOptions query;
  query.name = "load";
  query.nodes = {"*"};
  query.authorization = signature;
  REQUIRE(cluster.nodes[0]->send_query(cluster.now, query));
  cluster.run_for(1s);
  const auto arrived = cluster.all<QueryArrived>();
  REQUIRE(arrived.size() == 3);
  for (const auto& [node, question] : arrived) {
    proto::Query record;
    REQUIRE(record.ParseFromString(question.record));
    CHECK(record.authorization() == signature);
    CHECK(record.filter_nodes(0) == "*");
  }
  const std::string larger = signature + "x";
  CHECK_FALSE(cluster.nodes[0]->send_event(cluster.now, "deploy", "v1", false, larger));
  query.authorization = larger;
  CHECK_FALSE(cluster.nodes[0]->send_query(cluster.now, query));
}

TEST_CASE("a refusal is told to the asker with its reason") {
  Cluster cluster(2);
  join_all(cluster);
  QueryOptions query;
  query.name = "load";
  REQUIRE(cluster.nodes[0]->send_query(cluster.now, query));
  cluster.run_for(10ms);
  for (const auto& [node, question] : cluster.all<QueryArrived>()) {
    REQUIRE(cluster.nodes[node]->answer_query(cluster.now, question.id,
                                              {ReplyKind::kRefused, {}, "by policy"}));
  }
  cluster.run_for(10ms);
  size_t refusals = 0;
  for (const auto& [node, answer] : cluster.all<QueryAnswered>()) {
    if (answer.kind == ReplyKind::kAck) continue;
    CHECK(answer.kind == ReplyKind::kRefused);
    CHECK(answer.error == "by policy");
    ++refusals;
  }
  CHECK(refusals == 2);
  CHECK(cluster.all<QueryEnded>().size() == 1);
}

TEST_CASE("events and queries over their limits are refused with the limit") {
  Cluster cluster(1);
  Node& node = *cluster.nodes[0];
  const auto event = node.send_event(cluster.now, "e", std::string(1U << 20, 'x'), false);
  REQUIRE_FALSE(event.has_value());
  CHECK(event.error().message ==
        "user event exceeds configured limit of 1048576 bytes before encoding");
  QueryOptions query;
  query.name = "q";
  query.payload = std::string(1024, 'x');
  CHECK_FALSE(node.send_query(cluster.now, query).has_value());
  query.payload.clear();
  query.tags = {{"role", "("}};
  CHECK_FALSE(node.send_query(cluster.now, query).has_value());
  CHECK_FALSE(node.send_event(cluster.now, "", "x", false).has_value());
}

TEST_CASE("a query ends when all have answered") {
  Cluster cluster(3);
  join_all(cluster);
  QueryOptions query;
  query.name = "load";
  const TimePoint asked = cluster.now;
  const auto handle = cluster.nodes[0]->send_query(cluster.now, query);
  REQUIRE(handle.has_value());
  CHECK(handle->addressed == 3);
  cluster.run_for(10ms);
  const auto arrived = cluster.all<QueryArrived>();
  REQUIRE(arrived.size() == 3);
  CHECK(cluster.all<QueryEnded>().empty());
  for (const auto& [node, action] : arrived) {
    Answer answer;
    answer.payload = "from " + std::to_string(node);
    CHECK(cluster.nodes[node]->answer_query(cluster.now, action.id, answer).has_value());
    CHECK_FALSE(cluster.nodes[node]->answer_query(cluster.now, action.id, answer).has_value());
  }
  cluster.run_for(10ms);
  const auto ended = cluster.all<QueryEnded>();
  REQUIRE(ended.size() == 1);
  CHECK_FALSE(ended[0].second.timed_out);
  CHECK(ended[0].second.silent.empty());
  CHECK(cluster.now - asked < 100ms);
  size_t acks = 0;
  size_t responses = 0;
  for (const auto& [node, answered] : cluster.all<QueryAnswered>()) {
    acks += answered.kind == ReplyKind::kAck ? 1 : 0;
    responses += answered.kind == ReplyKind::kResponse ? 1 : 0;
  }
  CHECK(acks == 3);
  CHECK(responses == 3);
}

TEST_CASE("a query that nobody matches ends at once") {
  Cluster cluster(2);
  join_all(cluster);
  QueryOptions query;
  query.name = "load";
  query.nodes = {"nobody"};
  const auto handle = cluster.nodes[0]->send_query(cluster.now, query);
  REQUIRE(handle.has_value());
  CHECK(handle->addressed == 0);
  cluster.run_for(10ms);
  CHECK(cluster.all<QueryEnded>().size() == 1);
}

TEST_CASE("a large answer comes over a stream") {
  Cluster cluster(2);
  join_all(cluster);
  QueryOptions query;
  query.name = "dump";
  query.nodes = {cluster.nodes[1]->identity().name};
  REQUIRE(cluster.nodes[0]->send_query(cluster.now, query).has_value());
  cluster.run_for(10ms);
  const auto arrived = cluster.all<QueryArrived>();
  REQUIRE(arrived.size() == 1);
  Answer answer;
  answer.payload = std::string(1U << 20, 'x');
  CHECK(cluster.nodes[1]->answer_query(cluster.now, arrived[0].second.id, answer).has_value());
  cluster.run_for(10ms);
  size_t bytes = 0;
  for (const auto& [node, answered] : cluster.all<QueryAnswered>())
    bytes += answered.payload.size();
  CHECK(bytes == 1U << 20);
  CHECK(cluster.all<QueryEnded>().size() == 1);
}

TEST_CASE("leaving is told to the others and ends") {
  Cluster cluster(3);
  join_all(cluster);
  cluster.nodes[2]->leave(cluster.now);
  cluster.run_for(1s);
  CHECK(cluster.all<LeaveDone>().size() == 1);
  const std::string name = cluster.nodes[2]->identity().name;
  CHECK(cluster.nodes[0]->member(name)->status == Status::kLeft);
  CHECK(cluster.nodes[1]->member(name)->status == Status::kLeft);
}

TEST_CASE("tags spread and are refused over their limit") {
  Cluster cluster(2);
  join_all(cluster);
  CHECK(cluster.nodes[1]->set_tags(cluster.now, {{"role", "web"}}).has_value());
  cluster.run_for(100ms);
  CHECK(cluster.nodes[0]->member("node2")->tags.at("role") == "web");
  const auto large = cluster.nodes[1]->set_tags(cluster.now, {{"k", std::string(600, 'x')}});
  REQUIRE_FALSE(large.has_value());
  CHECK(large.error().message == "Encoded length of tags exceeds limit of 512 bytes");
}

TEST_CASE("garbage is counted and changes nothing") {
  Cluster cluster(2);
  join_all(cluster);
  Node& node = *cluster.nodes[0];
  const uint64_t before = node.member_fingerprint();
  Random random(9);
  for (int i = 0; i < 5000; ++i) {
    std::string bytes(random.below(300), '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    node.receive_datagram(cluster.now, test::address_of(5), bytes);
    node.stream_accepted(cluster.now, kFirstAcceptedStream + 1000 + static_cast<StreamId>(i),
                         test::address_of(5));
    node.receive_stream(cluster.now, kFirstAcceptedStream + 1000 + static_cast<StreamId>(i), bytes);
    CHECK(node.take_actions().size() < 10);
  }
  CHECK(node.member_fingerprint() == before);
  CHECK(node.statistics().malformed_packets > 4000);
}

TEST_CASE("being alone for long is not a stall when the first member appears") {
  Cluster cluster(2);
  cluster.run_for(60s);
  join_all(cluster);
  for (const auto& node : cluster.nodes) CHECK(node->local_health() == 0);
}

TEST_CASE("text that is not UTF-8 is refused where it is given") {
  Cluster cluster(1);
  Node& node = *cluster.nodes[0];
  CHECK_FALSE(node.send_event(cluster.now, "\xff", "\xff", false).has_value());
  CHECK(node.send_event(cluster.now, "ok", "\xff", false).has_value());
  const auto tags = node.set_tags(cluster.now, {{"k", "\xff"}});
  REQUIRE_FALSE(tags.has_value());
  CHECK(tags.error().message == "tags must be UTF-8 without NUL, and their names not empty");
  QueryOptions query;
  query.name = "\xff";
  CHECK_FALSE(node.send_query(cluster.now, query).has_value());
}

TEST_CASE("who is not admitted is not heard and no member") {
  Cluster cluster(3);
  const NodeId refused = test::node_id(3);
  for (const size_t i : {0, 1}) {
    cluster.nodes[i]->set_admission(
        cluster.now, [&](const NodeId& id, std::string_view) { return id != refused; });
  }
  join_all(cluster);
  CHECK(cluster.nodes[0]->members().size() == 2);
  CHECK(cluster.nodes[1]->members().size() == 2);
  CHECK(cluster.nodes[2]->members().size() == 1);
  const auto tried = cluster.all<JoinTried>();
  REQUIRE(tried.size() == 2);
  for (const auto& [node, result] : tried) {
    CHECK(result.ok == (node != 2));
    CHECK(result.error == (node != 2 ? "" : "does not admit node " + refused.to_string()));
  }
  CHECK(cluster.nodes[0]->statistics().unadmitted_packets > 0);
  REQUIRE(cluster.nodes[2]->send_event(cluster.now, "deploy", "", false).has_value());
  cluster.run_for(1s);
  CHECK(cluster.all<UserEventArrived>().size() == 1);
}

TEST_CASE("members that are admitted no longer are forgotten at a review") {
  Cluster cluster(3);
  NodeId refused;
  for (const size_t i : {0, 1}) {
    cluster.nodes[i]->set_admission(
        cluster.now, [&](const NodeId& id, std::string_view) { return id != refused; });
  }
  join_all(cluster);
  REQUIRE(cluster.nodes[0]->members().size() == 3);
  refused = test::node_id(3);
  cluster.happened.clear();
  cluster.nodes[0]->review_members(cluster.now);
  cluster.nodes[1]->review_members(cluster.now);
  cluster.run_for(1min);
  CHECK(cluster.nodes[0]->members().size() == 2);
  CHECK(cluster.nodes[1]->members().size() == 2);
  std::vector<MemberChange> told;
  for (const auto& [node, event] : cluster.all<MemberEvent>()) {
    if (node != 0) continue;
    CHECK(event.member.id == refused);
    told.push_back(event.change);
  }
  CHECK(told == std::vector{MemberChange::kLeave, MemberChange::kReap});
  refused = {};
  cluster.nodes[0]->review_members(cluster.now);
  cluster.nodes[1]->review_members(cluster.now);
  cluster.run_for(1min);
  CHECK(cluster.nodes[0]->members().size() == 3);
}
