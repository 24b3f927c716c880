// SPDX-License-Identifier: Apache-2.0
//
// The tables of operators, of the orders that they signed, and of what they say about nodes.
// Internal to agent/store; same thread as Database.
#pragma once

#include <array>

#include "agent/store/sqlite.h"
#include "agent/store/state.h"

namespace starling::agent {

class TrustTable {
 public:
  /// Part of the schema since version 5.
  static const char* const kSchema;
  static const char* const kFromVersion5;

  /// SQLite's result code, as all below.
  int prepare(sqlite3* connection);
  int put(const PutOperator& change);
  int put(const PutOrder& change);
  int put(const PutStatement& change);
  int load(StoredState& state);
  /// Removes orders that need not be remembered.
  int sweep();

 private:
  enum Query : size_t { kPutOperator, kPutOrder, kPutHorizon, kPutNode, kSweep, kQueries };

  sqlite3* connection_ = nullptr;
  std::array<sqlite::Statement, kQueries> statements_;
};

}  // namespace starling::agent
