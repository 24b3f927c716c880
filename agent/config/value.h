// SPDX-License-Identifier: Apache-2.0
//
// What a file or flag says, before it is known what is meant: a small tree in which every node
// knows its place. Plain values.
#pragma once

#include <string>
#include <vector>

namespace starling::agent::config {

struct ValueEntry;

struct Value {
  enum class Kind {
    kNull,    ///< nothing, "~" or "null"
    kPlain,   ///< a scalar without quotes: string, number or boolean, as wanted
    kQuoted,  ///< a scalar in quotes or a block: a string
    kFlag,    ///< a flag's text: what is wanted
    kList,
    kMap,
  };

  Kind kind = Kind::kNull;
  std::string text;                 ///< of a scalar
  std::vector<Value> items;         ///< of a list
  std::vector<ValueEntry> entries;  ///< of a map, in order; no key twice
  std::string place;                ///< "file:line:column" (from 1; columns are bytes) or "-flag"

  [[nodiscard]] bool is_scalar() const {
    return kind == Kind::kPlain || kind == Kind::kQuoted || kind == Kind::kFlag;
  }
};

struct ValueEntry {
  std::string key;
  std::string key_place;
  Value value;
};

}  // namespace starling::agent::config
