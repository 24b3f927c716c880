// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/vouching.h"

#include <algorithm>
#include <utility>

#include "membership/planted_bug.h"
#include "membership/signed_text.h"
#include "membership/wire.h"

namespace starling::membership {

namespace {

constexpr Duration kBetweenLogs = std::chrono::minutes(1);

}  // namespace

std::string signed_text(const Description& description) {
  std::string text;
  text.reserve(256 + description.tags.size());
  add_text(text, "starling member 1");
  add_text(text, view(description.key));
  add_text(text, description.name);
  add_text(text, view(description.address.ip()));
  add_number(text, description.address.port());
  const auto tags = unpack_tags(description.tags);
  add_number(text, tags.size());
  for (const auto& [key, value] : tags) {
    add_text(text, key);
    add_text(text, value);
  }
  add_number(text, description.protocol_min);
  add_number(text, description.protocol_max);
  add_number(text, description.incarnation.value);
  add_number(text, description.left ? 1 : 0);
  return text;
}

std::optional<Description> read_description(const proto::MemberRecord& record) {
  const auto id = NodeId::from_wire(record.id());
  const auto address = Address::from_wire(record.address(), record.port());
  auto tags = read_tags(record);
  if (!id || !valid_name(record.name()) || !address || !tags) return std::nullopt;
  const auto version = [](uint32_t number) {
    return static_cast<uint8_t>(std::min<uint32_t>(number, 255));
  };
  return Description{*id,
                     record.name(),
                     *address,
                     std::move(*tags),
                     version(record.protocol_min()),
                     version(record.protocol_max()),
                     Incarnation{record.incarnation()},
                     record.owner_left(),
                     bytes_of<PublicKey>(record.public_key()),
                     bytes_of<Signature>(record.signature())};
}

void write_description(const Description& description, proto::MemberRecord& record) {
  record.set_id(std::string(description.id.wire()));
  record.set_incarnation(description.incarnation.value);
  record.set_name(description.name);
  record.set_address(description.address.wire_ip());
  record.set_port(description.address.port());
  write_tags(description.tags, record);
  record.set_protocol_min(description.protocol_min);
  record.set_protocol_max(description.protocol_max);
  record.set_owner_left(description.left);
  record.set_public_key(std::string(view(description.key)));
  record.set_signature(std::string(view(description.signature)));
}

Vouched Vouching::check(const Description& description, const Address& source) {
  if (known_.contains(description) || planted(PlantedBug::kBelieveAnySignature)) {
    return Vouched::kYes;
  }
  if (budget_.spent(source)) {
    ++context_.statistics.unverified_records;
    return Vouched::kTooMany;
  }
  const NodeKeys& keys = *context_.identity.keys;
  if (keys.id_of(description.key) == description.id &&
      keys.verify(description.key, signed_text(description), description.signature)) {
    return Vouched::kYes;
  }
  forged(description, source);
  return Vouched::kForged;
}

void Vouching::forged(const Description& description, const Address& source) {
  ++context_.statistics.forged_records;
  budget_.charge(source);
  ++unlogged_;
  if (context_.now < log_again_) return;
  log_again_ = context_.now + kBetweenLogs;
  const std::string from = source == Address() ? "an unknown address" : source.to_string();
  context_.trace(TraceLevel::kWarn,
                 "refused " + std::to_string(unlogged_) +
                     (unlogged_ == 1 ? " member record" : " member records") +
                     " not signed by the member that it names; the last one came from " + from +
                     " and named '" + description.name + "' (node id " +
                     description.id.to_string() +
                     "): an agent there is older than this one, or hostile");
  unlogged_ = 0;
}

}  // namespace starling::membership
