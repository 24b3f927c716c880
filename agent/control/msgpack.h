// SPDX-License-Identifier: Apache-2.0
//
// MessagePack, as Serf's RPC uses it (https://github.com/msgpack/msgpack/blob/master/spec.md).
// Pure, no I/O; one decoder belongs to one stream. Extension types are not understood.
//
// A decoder takes what a stranger sends: nothing is reserved for what is only announced, and each
// message has a limit of bytes, of values and of nesting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "proto/support/result.h"

namespace starling::agent::msgpack {

struct Pair;

/// One decoded value. Texts and bytes are both strings: Serf's clients use either for both.
struct Value {
  using Array = std::vector<Value>;
  using Map = std::vector<Pair>;

  /// monostate: nil. Integers: uint64_t unless negative.
  std::variant<std::monostate, bool, uint64_t, int64_t, double, std::string, Array, Map> data;

  [[nodiscard]] bool is_nil() const { return std::holds_alternative<std::monostate>(data); }
  template <typename T>
  [[nodiscard]] const T* get_if() const {
    return std::get_if<T>(&data);
  }
  /// The last value of a map under a text; none when it has none, or this is no map.
  [[nodiscard]] const Value* find(std::string_view key) const;
};

struct Pair {
  Value key;
  Value value;
};

struct Limits {
  size_t bytes = 1U << 20;   ///< of one message
  size_t values = 1U << 16;  ///< in one message, those inside of others included
  size_t depth = 16;         ///< of arrays and maps in each other
};

/// Cuts a byte stream into values, whatever the pieces in which it arrives.
class Decoder {
 public:
  explicit Decoder(Limits limits = {}) : limits_(limits) { restart(); }

  void set_limits(const Limits& limits) { limits_ = limits; }
  /// Bytes of the stream, in their order. Take all values out before adding more: what is kept is
  /// then at most one unfinished message.
  void add(std::string_view bytes);
  /// The next complete value; none: more bytes are needed. kInvalid, kTooLarge: the stream has no
  /// meaning any more.
  [[nodiscard]] Result<std::optional<Value>> next();
  /// Bytes that were added and not taken out.
  [[nodiscard]] size_t buffered() const { return buffer_.size() - begin_; }

 private:
  void restart();
  /// Moves on over what is there; true when the value is complete.
  Result<bool> scan();

  Limits limits_;
  std::string buffer_;
  size_t begin_ = 0;  // of the value in work
  size_t scanned_ = 0;
  size_t values_ = 0;
  std::vector<uint64_t> open_;  // values missing at each level
};

/// Appends values to a string. The sizes of maps and arrays are the caller's promise.
class Writer {
 public:
  Writer& nil();
  Writer& boolean(bool value);
  /// The shortest form.
  Writer& number(uint64_t value);
  /// The shortest signed form, as Go's encoder writes an int: never one of the unsigned forms.
  Writer& signed_number(int64_t value);
  Writer& real(double value);
  Writer& text(std::string_view value);
  Writer& bytes(std::string_view value);
  Writer& array(size_t size);
  Writer& map(size_t pairs);

  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  void head(uint8_t type, uint64_t value, unsigned width);

  std::string out_;
};

}  // namespace starling::agent::msgpack
