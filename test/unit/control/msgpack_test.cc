// SPDX-License-Identifier: Apache-2.0
#include "agent/control/msgpack.h"

#include "test/catch.h"

using starling::ErrorKind;
using starling::agent::msgpack::Decoder;
using starling::agent::msgpack::Limits;
using starling::agent::msgpack::Value;
using starling::agent::msgpack::Writer;

namespace {

template <typename... Bytes>
std::string raw(Bytes... bytes) {
  return {static_cast<char>(bytes)...};
}

Value decode(const std::string& bytes) {
  Decoder decoder;
  decoder.add(bytes);
  auto value = decoder.next();
  REQUIRE(value);
  REQUIRE(value->has_value());
  CHECK(decoder.buffered() == 0);
  return **value;
}

ErrorKind error_of(const std::string& bytes, const Limits& limits = {}) {
  Decoder decoder(limits);
  decoder.add(bytes);
  const auto value = decoder.next();
  REQUIRE_FALSE(value);
  return value.error().kind;
}

}  // namespace

TEST_CASE("numbers have the shortest form, and signed ones stay signed") {
  const auto number = [](uint64_t value) { return Writer().number(value).take(); };
  const auto signed_number = [](int64_t value) { return Writer().signed_number(value).take(); };
  CHECK(number(0) == raw(0));
  CHECK(number(127) == raw(0x7f));
  CHECK(number(128) == raw(0xcc, 0x80));
  CHECK(number(7946) == raw(0xcd, 0x1f, 0x0a));
  CHECK(number(1u << 16) == raw(0xce, 0, 1, 0, 0));
  CHECK(number(uint64_t{1} << 32) == raw(0xcf, 0, 0, 0, 1, 0, 0, 0, 0));
  CHECK(signed_number(-1) == raw(0xff));
  CHECK(signed_number(-33) == raw(0xd0, 0xdf));
  CHECK(signed_number(200) == raw(0xd1, 0, 0xc8));
  CHECK(signed_number(70000) == raw(0xd2, 0, 1, 0x11, 0x70));
}

TEST_CASE("what is written is read again") {
  for (const uint64_t number : {uint64_t{0}, uint64_t{31}, uint64_t{127}, uint64_t{255},
                                uint64_t{65535}, uint64_t{1} << 31, UINT64_MAX}) {
    CHECK(*decode(Writer().number(number).take()).get_if<uint64_t>() == number);
  }
  for (const int64_t number :
       {int64_t{-1}, int64_t{-32}, int64_t{-33}, int64_t{-129}, int64_t{-32769}, INT64_MIN}) {
    CHECK(*decode(Writer().signed_number(number).take()).get_if<int64_t>() == number);
  }
  CHECK(*decode(Writer().signed_number(300).take()).get_if<uint64_t>() == 300);
  for (const size_t size : {0, 31, 32, 255, 256, 65535, 65536}) {
    const std::string text(size, 'x');
    CHECK(*decode(Writer().text(text).take()).get_if<std::string>() == text);
    CHECK(*decode(Writer().bytes(text).take()).get_if<std::string>() == text);
  }
  CHECK(*decode(Writer().real(0.25).take()).get_if<double>() == 0.25);
  CHECK(*decode(Writer().boolean(true).take()).get_if<bool>());
  CHECK(decode(Writer().nil().take()).is_nil());
  for (const size_t size : {0, 15, 16, 300}) {
    Writer array;
    array.array(size);
    Writer map;
    map.map(size);
    for (size_t i = 0; i < size; ++i) {
      array.number(i);
      map.text(std::to_string(i)).number(i);
    }
    CHECK(decode(array.take()).get_if<Value::Array>()->size() == size);
    const Value read = decode(map.take());
    CHECK(read.get_if<Value::Map>()->size() == size);
    if (size > 0) CHECK(*read.find(std::to_string(size - 1))->get_if<uint64_t>() == size - 1);
    CHECK(read.find("none") == nullptr);
  }
}

TEST_CASE("a stream may come in any pieces") {
  Writer out;
  out.map(2).text("Command").text("event").text("Seq").number(70000);
  out.array(2).bytes(std::string(300, 'p')).nil();
  const std::string bytes = out.take();
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, bytes.size()}) {
    Decoder decoder;
    std::vector<Value> values;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      decoder.add(std::string_view(bytes).substr(at, piece));
      while (true) {
        auto value = decoder.next();
        REQUIRE(value);
        if (!*value) break;
        values.push_back(std::move(**value));
      }
    }
    REQUIRE(values.size() == 2);
    CHECK(*values[0].find("Command")->get_if<std::string>() == "event");
    CHECK(values[1].get_if<Value::Array>()->front().get_if<std::string>()->size() == 300);
    CHECK(decoder.buffered() == 0);
  }
}

TEST_CASE("announced sizes take no memory and end at the limits") {
  CHECK(error_of(raw(0xc1)) == ErrorKind::kInvalid);
  CHECK(error_of(raw(0xd4, 1, 1)) == ErrorKind::kInvalid);
  CHECK(error_of(raw(0xdb, 0xff, 0xff, 0xff, 0xff)) == ErrorKind::kTooLarge);
  CHECK(error_of(raw(0xc6, 0xff, 0xff, 0xff, 0xff)) == ErrorKind::kTooLarge);
  CHECK(error_of(raw(0xdd, 0xff, 0xff, 0xff, 0xff)) == ErrorKind::kTooLarge);
  CHECK(error_of(raw(0xdf, 0xff, 0xff, 0xff, 0xff)) == ErrorKind::kTooLarge);
  CHECK(error_of(std::string(100, '\x91')) == ErrorKind::kTooLarge);
  CHECK(error_of(std::string(100, '\x81')) == ErrorKind::kTooLarge);
  CHECK(error_of(raw(0x93, 1, 2, 3), {.bytes = 100, .values = 3, .depth = 2}) ==
        ErrorKind::kTooLarge);
  CHECK(error_of(raw(0xa5, 'a', 'b'), {.bytes = 5, .values = 3, .depth = 2}) ==
        ErrorKind::kTooLarge);
  // Many lists, each announced within the limit but not in sum.
  std::string lists = raw(0x9f);
  for (int i = 0; i < 15; ++i) lists += raw(0x9f) + std::string(15, '\0');
  CHECK(error_of(lists, {.bytes = 1000, .values = 200, .depth = 4}) == ErrorKind::kTooLarge);
}
