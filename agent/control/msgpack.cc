// SPDX-License-Identifier: Apache-2.0
#include "agent/control/msgpack.h"

#include <algorithm>
#include <bit>

namespace starling::agent::msgpack {

namespace {

constexpr size_t kMaxHead = 9;

enum class Kind { kNil, kBool, kUnsigned, kSigned, kFloat, kDouble, kText, kArray, kMap };

/// The first bytes of a value.
struct Head {
  Kind kind = Kind::kNil;
  size_t bytes = 1;     ///< of the head itself; may be more than are there
  uint64_t number = 0;  ///< the value, or the size in bytes or elements

  /// Bytes that follow and belong to this value alone.
  [[nodiscard]] uint64_t payload() const { return kind == Kind::kText ? number : 0; }
  /// Values that follow and belong to this one.
  [[nodiscard]] uint64_t children() const {
    if (kind == Kind::kArray) return number;
    return kind == Kind::kMap ? 2 * number : 0;
  }
};

struct Form {
  uint8_t type;
  Kind kind;
  unsigned width;  // bytes of the number
};

// All types of 0xc0 to 0xdf but extensions and 0xc1, which does not exist.
constexpr Form kForms[] = {
    {0xc0, Kind::kNil, 0},      {0xc2, Kind::kBool, 0},     {0xc3, Kind::kBool, 0},
    {0xc4, Kind::kText, 1},     {0xc5, Kind::kText, 2},     {0xc6, Kind::kText, 4},
    {0xca, Kind::kFloat, 4},    {0xcb, Kind::kDouble, 8},   {0xcc, Kind::kUnsigned, 1},
    {0xcd, Kind::kUnsigned, 2}, {0xce, Kind::kUnsigned, 4}, {0xcf, Kind::kUnsigned, 8},
    {0xd0, Kind::kSigned, 1},   {0xd1, Kind::kSigned, 2},   {0xd2, Kind::kSigned, 4},
    {0xd3, Kind::kSigned, 8},   {0xd9, Kind::kText, 1},     {0xda, Kind::kText, 2},
    {0xdb, Kind::kText, 4},     {0xdc, Kind::kArray, 2},    {0xdd, Kind::kArray, 4},
    {0xde, Kind::kMap, 2},      {0xdf, Kind::kMap, 4},
};

uint64_t big_endian(std::string_view bytes) {
  uint64_t number = 0;
  for (const char byte : bytes) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

/// `bytes` is not empty. None: there is no such type. Head::bytes says how many are needed; with
/// fewer there, the number is not read.
std::optional<Head> read_head(std::string_view bytes) {
  const auto type = static_cast<uint8_t>(bytes[0]);
  if (type <= 0x7f) return Head{Kind::kUnsigned, 1, type};
  if (type <= 0x8f) return Head{Kind::kMap, 1, type & 0x0fU};
  if (type <= 0x9f) return Head{Kind::kArray, 1, type & 0x0fU};
  if (type <= 0xbf) return Head{Kind::kText, 1, type & 0x1fU};
  if (type >= 0xe0) return Head{Kind::kSigned, 1, static_cast<uint64_t>(int64_t{type} - 256)};
  const auto* form = std::ranges::find(kForms, type, &Form::type);
  if (form == std::end(kForms)) return std::nullopt;
  Head head{form->kind, 1 + form->width, 0};
  if (head.kind == Kind::kBool) head.number = type & 1U;
  if (bytes.size() < head.bytes || form->width == 0) return head;
  head.number = big_endian(bytes.substr(1, form->width));
  if (head.kind == Kind::kSigned && form->width < 8) {
    const uint64_t sign = uint64_t{1} << (8 * form->width - 1);
    head.number = (head.number ^ sign) - sign;
  }
  return head;
}

/// Takes one complete, scanned value off the front. Recursion is bounded by Limits::depth.
Value take(std::string_view& bytes) {
  const Head head = *read_head(bytes);
  bytes.remove_prefix(head.bytes);
  switch (head.kind) {
    case Kind::kNil:
      return {};
    case Kind::kBool:
      return {head.number != 0};
    case Kind::kUnsigned:
      return {head.number};
    case Kind::kSigned: {
      const auto number = static_cast<int64_t>(head.number);
      if (number >= 0) return {head.number};
      return {number};
    }
    case Kind::kFloat:
      return {double{std::bit_cast<float>(static_cast<uint32_t>(head.number))}};
    case Kind::kDouble:
      return {std::bit_cast<double>(head.number)};
    case Kind::kText: {
      Value text{std::string(bytes.substr(0, head.number))};
      bytes.remove_prefix(head.number);
      return text;
    }
    case Kind::kArray: {
      Value::Array array;
      array.reserve(head.number);
      for (uint64_t i = 0; i < head.number; ++i) array.push_back(take(bytes));
      return {std::move(array)};
    }
    case Kind::kMap: {
      Value::Map map;
      map.reserve(head.number);
      for (uint64_t i = 0; i < head.number; ++i) {
        Value key = take(bytes);
        Value value = take(bytes);
        map.push_back({std::move(key), std::move(value)});
      }
      return {std::move(map)};
    }
  }
  return {};
}

}  // namespace

const Value* Value::find(std::string_view key) const {
  const Map* map = get_if<Map>();
  if (map == nullptr) return nullptr;
  const auto found = std::find_if(map->rbegin(), map->rend(), [&](const Pair& pair) {
    const auto* text = pair.key.get_if<std::string>();
    return text != nullptr && *text == key;
  });
  return found == map->rend() ? nullptr : &found->value;
}

// --- decoding ----------------------------------------------------------------------------------

void Decoder::restart() {
  scanned_ = 0;
  values_ = 0;
  open_.assign(1, 1);
}

void Decoder::add(std::string_view bytes) {
  if (begin_ > 0) buffer_.erase(0, begin_);
  begin_ = 0;
  buffer_ += bytes;
}

Result<bool> Decoder::scan() {
  const std::string_view all = std::string_view(buffer_).substr(begin_);
  while (!open_.empty()) {
    if (open_.back() == 0) {
      open_.pop_back();
      continue;
    }
    const std::string_view rest = all.substr(scanned_);
    if (rest.empty()) return false;
    const auto head = read_head(rest.substr(0, kMaxHead));
    if (!head) return fail(ErrorKind::kInvalid, "no such type in MessagePack, or an extension");
    if (rest.size() < head->bytes) return false;
    if (head->payload() > limits_.bytes ||
        scanned_ + head->bytes + head->payload() > limits_.bytes) {
      return fail(ErrorKind::kTooLarge,
                  "a message is longer than " + std::to_string(limits_.bytes) + " bytes");
    }
    if (rest.size() < head->bytes + head->payload()) return false;
    ++values_;
    if (head->children() > limits_.values || values_ + head->children() > limits_.values) {
      return fail(ErrorKind::kTooLarge,
                  "a message has more than " + std::to_string(limits_.values) + " values");
    }
    scanned_ += head->bytes + head->payload();
    --open_.back();
    if (head->children() == 0) continue;
    if (open_.size() > limits_.depth) {
      return fail(ErrorKind::kTooLarge,
                  "a message is nested more than " + std::to_string(limits_.depth) + " deep");
    }
    open_.push_back(head->children());
  }
  return true;
}

Result<std::optional<Value>> Decoder::next() {
  const auto complete = scan();
  if (!complete) return tl::unexpected(complete.error());
  if (!*complete) return std::nullopt;
  std::string_view bytes = std::string_view(buffer_).substr(begin_, scanned_);
  Value value = take(bytes);
  begin_ += scanned_;
  restart();
  return value;
}

// --- encoding ----------------------------------------------------------------------------------

void Writer::head(uint8_t type, uint64_t value, unsigned width) {
  out_ += static_cast<char>(type);
  for (unsigned i = width; i > 0; --i) out_ += static_cast<char>(value >> (8 * (i - 1)) & 0xff);
}

Writer& Writer::nil() {
  head(0xc0, 0, 0);
  return *this;
}

Writer& Writer::boolean(bool value) {
  head(value ? 0xc3 : 0xc2, 0, 0);
  return *this;
}

Writer& Writer::number(uint64_t value) {
  if (value <= 0x7f) {
    head(static_cast<uint8_t>(value), 0, 0);
  } else if (value <= UINT8_MAX) {
    head(0xcc, value, 1);
  } else if (value <= UINT16_MAX) {
    head(0xcd, value, 2);
  } else if (value <= UINT32_MAX) {
    head(0xce, value, 4);
  } else {
    head(0xcf, value, 8);
  }
  return *this;
}

Writer& Writer::signed_number(int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  if (value >= -32 && value <= INT8_MAX) {
    head(static_cast<uint8_t>(bits), 0, 0);
  } else if (value >= INT8_MIN && value <= INT8_MAX) {
    head(0xd0, bits, 1);
  } else if (value >= INT16_MIN && value <= INT16_MAX) {
    head(0xd1, bits, 2);
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    head(0xd2, bits, 4);
  } else {
    head(0xd3, bits, 8);
  }
  return *this;
}

Writer& Writer::real(double value) {
  head(0xcb, std::bit_cast<uint64_t>(value), 8);
  return *this;
}

Writer& Writer::text(std::string_view value) {
  if (value.size() <= 31) {
    head(static_cast<uint8_t>(0xa0 | value.size()), 0, 0);
  } else if (value.size() <= UINT8_MAX) {
    head(0xd9, value.size(), 1);
  } else if (value.size() <= UINT16_MAX) {
    head(0xda, value.size(), 2);
  } else {
    head(0xdb, value.size(), 4);
  }
  out_ += value;
  return *this;
}

Writer& Writer::bytes(std::string_view value) {
  if (value.size() <= UINT8_MAX) {
    head(0xc4, value.size(), 1);
  } else if (value.size() <= UINT16_MAX) {
    head(0xc5, value.size(), 2);
  } else {
    head(0xc6, value.size(), 4);
  }
  out_ += value;
  return *this;
}

Writer& Writer::array(size_t size) {
  if (size <= 15) {
    head(static_cast<uint8_t>(0x90 | size), 0, 0);
  } else if (size <= UINT16_MAX) {
    head(0xdc, size, 2);
  } else {
    head(0xdd, size, 4);
  }
  return *this;
}

Writer& Writer::map(size_t pairs) {
  if (pairs <= 15) {
    head(static_cast<uint8_t>(0x80 | pairs), 0, 0);
  } else if (pairs <= UINT16_MAX) {
    head(0xde, pairs, 2);
  } else {
    head(0xdf, pairs, 4);
  }
  return *this;
}

}  // namespace starling::agent::msgpack
