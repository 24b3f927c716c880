// SPDX-License-Identifier: Apache-2.0
#include "membership/wire.h"

#include <string>

#include "membership/limits.h"
#include "test/catch.h"

namespace m = starling::membership;
namespace proto = starling::proto;

TEST_CASE("tags survive packing and their order does not matter") {
  const std::map<std::string, std::string> tags{{"role", "web"}, {"dc", ""}, {"a", "x=y,z"}};
  const std::string packed = m::pack_tags(tags);
  CHECK(m::unpack_tags(packed) == tags);
  CHECK(m::find_tag(packed, "role") == "web");
  CHECK(m::find_tag(packed, "dc").empty());
  CHECK(m::find_tag(packed, "web").empty());
  proto::MemberRecord record;
  m::write_tags(packed, record);
  CHECK(m::read_tags(record) == packed);
  std::swap(*record.mutable_tags(0), *record.mutable_tags(2));
  CHECK(m::read_tags(record) == packed);
}

TEST_CASE("tags that are empty or hold a NUL or are too long are refused") {
  proto::MemberRecord record;
  record.add_tags()->set_value("v");
  CHECK_FALSE(m::read_tags(record).has_value());
  record.mutable_tags(0)->set_key(std::string("a\0b", 3));
  CHECK_FALSE(m::read_tags(record).has_value());
  record.mutable_tags(0)->set_key("k");
  CHECK(m::read_tags(record).has_value());
  record.mutable_tags(0)->set_value(std::string(m::kMaxTags, 'x'));
  CHECK_FALSE(m::read_tags(record).has_value());
}

TEST_CASE("names that would garble a terminal are refused") {
  CHECK(m::valid_name("web-1.example"));
  CHECK(m::valid_name("höst"));
  CHECK_FALSE(m::valid_name(""));
  CHECK_FALSE(m::valid_name("a\nb"));
  CHECK_FALSE(m::valid_name("a\x1b[31m"));
  CHECK_FALSE(m::valid_name(std::string(129, 'a')));
}

TEST_CASE("message ids survive the wire and bad ones are refused") {
  m::MessageId id;
  id.origin.bytes[3] = 7;
  id.epoch = 42;
  id.sequence = 1ULL << 40;
  CHECK(m::read_message_key(m::message_key(id)) == id);
  id.sequence = 0;
  CHECK_FALSE(m::read_message_key(m::message_key(id)).has_value());
  CHECK_FALSE(m::read_message_key("garbage").has_value());
  CHECK_FALSE(m::read_message_key("").has_value());
}
