// SPDX-License-Identifier: Apache-2.0
//
// A thin layer over SQLite's C interface: owning handles, typed binding, errors in words. Internal
// to agent/store.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "membership/ids.h"
#include "proto/support/result.h"

namespace starling::agent::sqlite {

struct Close {
  void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, Close>;

/// The last error of `connection` at `path`, with the remedy.
[[nodiscard]] Error describe(sqlite3* connection, const std::string& path);

/// Runs statements that give no rows. SQLite's result code.
int execute(sqlite3* connection, const char* sql);

/// One prepared statement, used again and again: bind in order, then run() or step().
class Statement {
 public:
  Statement() = default;
  /// SQLite's result code.
  int prepare(sqlite3* connection, const char* sql);

  Statement& bind(int64_t value);
  Statement& bind_null();
  /// Not copied: `value` must live until run(), or the end of the loop over step().
  Statement& text(std::string_view value);
  Statement& blob(std::string_view value);
  /// Three columns: origin, epoch, sequence.
  Statement& message(const membership::MessageId& id);

  /// Executes to the end and resets. SQLite's result code, SQLITE_OK for success.
  int run();
  /// SQLITE_ROW, SQLITE_DONE (reset by then) or an error (likewise).
  int step();

  /// The next column of the present row, from left to right.
  int64_t integer();
  std::string bytes();
  bool is_null();  ///< does not go to the next column
  /// Three columns; a malformed one gives the id of nobody.
  membership::MessageId message();

 private:
  void reset();

  std::unique_ptr<sqlite3_stmt, Close> statement_;
  int bound_ = 0;
  int column_ = 0;
};

}  // namespace starling::agent::sqlite
