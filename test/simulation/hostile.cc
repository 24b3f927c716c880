// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/hostile.h"

#include "membership/swim/vouching.h"
#include "membership/wire.h"
#include "proto/gossip.pb.h"
#include "test/stand_in_keys.h"

namespace starling::simulation {

namespace {

using membership::Incarnation;
using membership::NodeId;

constexpr size_t kAccusers = 4;
// Below what a Lamport clock takes for nonsense.
constexpr uint64_t kFarFuture = uint64_t{1} << 61;
constexpr uint64_t kFarAhead = 1'000'000;

std::string wire(const NodeId& id) {
  return std::string(id.wire());
}

/// What `member` says of itself, without its signature.
proto::MemberRecord description_of(const membership::Member& member) {
  proto::MemberRecord record;
  record.set_id(wire(member.id));
  record.set_incarnation(member.incarnation.value);
  record.set_name(member.name);
  record.set_address(member.address.wire_ip());
  record.set_port(member.address.port());
  for (const auto& [key, value] : member.tags) {
    proto::Tag& tag = *record.add_tags();
    tag.set_key(key);
    tag.set_value(value);
  }
  record.set_protocol_min(1);
  record.set_protocol_max(1);
  return record;
}

class Liar {
 public:
  Liar(World& world, NodeIndex self, membership::Random& random)
      : world_(world), self_(self), random_(random) {
    for (const NodeIndex node : world.usable_nodes()) {
      if (node != self) others_.push_back(node);
    }
  }

  void tell(Lie lie) {
    if (others_.size() < 2) return;
    const NodeIndex subject = others_[random_.below(others_.size())];
    proto::Packet packet;
    packet.set_sender(wire(world_.host(random_.chance(0.5) ? self_ : any()).id));
    if (lie == Lie::kEvent || lie == Lie::kFarEvent || lie == Lie::kQuery) {
      speak_for(subject, lie, packet);
    } else if (lie == Lie::kProgress) {
      claim_events(subject, packet);
    } else {
      proto::Record& record = *packet.add_records();
      const proto::MemberRecord member = make(lie, world_.node(subject).self());
      record.set_kind(proto::RECORD_MEMBER);
      record.set_key(member.id());
      record.set_payload(member.SerializeAsString());
    }
    for (const NodeIndex node : others_) {
      if (node != subject) {
        world_.send_raw(self_, world_.host(node).address, packet.SerializeAsString());
      }
    }
  }

 private:
  NodeIndex any() { return others_[random_.below(others_.size())]; }

  void accuse(const membership::Member& member, proto::MemberRecord& record) {
    record.set_id(wire(member.id));
    record.set_incarnation(member.incarnation.value);
    record.set_refused(true);
    for (size_t i = 0; i < kAccusers; ++i) record.add_accusers(wire(world_.host(any()).id));
  }

  /// What the subject's next messages could be, or one far ahead.
  membership::MessageId next_of(NodeIndex subject, bool far) {
    return {world_.host(subject).id, world_.node(subject).identity().epoch,
            far ? kFarAhead + random_.below(kFarAhead) : 1 + random_.below(8)};
  }

  template <typename Message>
  void add(proto::RecordKind kind, const membership::MessageId& id, Message& message, bool sign,
           proto::Packet& packet) {
    membership::MessageId own = id;
    own.origin = world_.host(self_).id;
    if (sign) test::sign_as_origin(own, message);
    proto::Record& record = *packet.add_records();
    record.set_kind(kind);
    record.set_key(membership::message_key(id));
    record.set_payload(message.SerializeAsString());
  }

  void speak_for(NodeIndex subject, Lie lie, proto::Packet& packet) {
    const membership::MessageId id = next_of(subject, lie == Lie::kFarEvent);
    if (lie == Lie::kQuery) {
      proto::Query query;
      query.set_name("forged");
      query.set_timeout_ms(5000);
      proto::QueryOver over;
      add(proto::RECORD_QUERY, id, query, true, packet);
      add(proto::RECORD_QUERY_OVER, id, over, true, packet);
      return;
    }
    proto::UserEvent event;
    event.set_name("forged");
    event.set_ltime(kFarFuture);
    add(proto::RECORD_USER_EVENT, id, event, lie == Lie::kEvent, packet);
  }

  void claim_events(NodeIndex subject, proto::Packet& packet) {
    const membership::MessageId id = next_of(subject, true);
    proto::EventProgress& progress = *packet.add_progress();
    progress.set_origin(wire(id.origin));
    progress.set_epoch(id.epoch);
    progress.set_contiguous(id.sequence);
  }

  /// With the liar's key in the place of the subject's.
  void sign(proto::MemberRecord& record) const {
    const membership::PublicKey key = test::stand_in_key(world_.host(self_).id);
    record.set_public_key(key.data(), key.size());
    if (const auto description = membership::read_description(record)) {
      const auto signature = test::stand_in_signature(key, membership::signed_text(*description));
      record.set_signature(signature.data(), signature.size());
    }
  }

  proto::MemberRecord make(Lie lie, const membership::Member& subject) {
    proto::MemberRecord record;
    switch (lie) {
      case Lie::kUnsigned:
      case Lie::kOtherKey:
        record = description_of(subject);
        record.set_incarnation(subject.incarnation.next().value);
        record.set_name("stolen");
        if (lie == Lie::kOtherKey) sign(record);
        break;
      case Lie::kLeft:
        record = description_of(subject);
        record.set_incarnation(subject.incarnation.next().value);
        record.set_status(proto::MEMBER_LEFT);
        record.set_owner_left(true);
        sign(record);
        break;
      case Lie::kSuspect:
        accuse(subject, record);
        record.set_status(proto::MEMBER_SUSPECT);
        break;
      case Lie::kFailed:
        accuse(subject, record);
        record.set_status(proto::MEMBER_FAILED);
        break;
      case Lie::kLastVersion:
        accuse(subject, record);
        record.set_status(proto::MEMBER_FAILED);
        record.set_incarnation((uint64_t{UINT32_MAX} << 32) - 1);
        break;
      case Lie::kFarFuture:
        record = description_of(world_.node(self_).self());
        record.set_ltime(kFarFuture);
        sign(record);
        break;
      case Lie::kOrder:
        record.set_id(wire(subject.id));
        record.set_incarnation(subject.incarnation.value);
        record.set_status(proto::MEMBER_LEFT);
        record.set_pruned(true);
        break;
      case Lie::kEvent:
      case Lie::kFarEvent:
      case Lie::kQuery:
      case Lie::kProgress:
        break;  // not of members
    }
    return record;
  }

  World& world_;
  NodeIndex self_;
  membership::Random& random_;
  std::vector<NodeIndex> others_;
};

}  // namespace

void tell_lies(World& world, NodeIndex liar, const std::vector<Lie>& lies,
               membership::Random& random) {
  if (!world.usable(liar)) return;
  Liar teller(world, liar, random);
  for (const Lie lie : lies) teller.tell(lie);
}

const std::vector<Lie>& lies_of_a_member() {
  static const std::vector<Lie> kLies = {Lie::kUnsigned, Lie::kOtherKey, Lie::kLeft,
                                         Lie::kSuspect,  Lie::kFailed,   Lie::kLastVersion,
                                         Lie::kEvent,    Lie::kFarEvent, Lie::kQuery};
  return kLies;
}

}  // namespace starling::simulation
