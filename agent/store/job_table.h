// SPDX-License-Identifier: Apache-2.0
//
// The table of jobs in the store's database. Internal to agent/store; same thread as Database.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "agent/store/job_rows.h"
#include "agent/store/sqlite.h"

namespace starling::agent {

class JobTable {
 public:
  /// Part of the schema since version 2.
  static const char* const kSchema;

  /// SQLite's result code, as all below.
  int prepare(sqlite3* connection);

  int put(const PutJob& change);
  /// `refused` tells why the change was not made though the database is well.
  int put(const StartJob& change, Result<void>& refused);
  int put(const EndJob& change);

  /// All that have not ended, the oldest first.
  int load_unfinished(std::vector<JobRow>& rows);
  int last_number(uint64_t& number);
  int select(const JobQuery& query, std::vector<JobRow>& rows);
  /// Removes what `retention` does not keep; tells what it was.
  int prune(const JobRetention& retention, int64_t now_ms, std::vector<JobRun>& removed);
  /// Removes these if they have ended.
  int remove(const std::vector<uint64_t>& numbers, std::vector<JobRun>& removed);
  /// Those of `numbers` that the table does not have.
  int unknown(std::vector<uint64_t>& numbers);

 private:
  enum Query : size_t { kPut, kStart, kEnd, kLast, kPrune, kRemove, kKnows, kQueries };

  int upsert(Query query, const JobRow& row);

  sqlite3* connection_ = nullptr;
  std::array<sqlite::Statement, kQueries> statements_;
};

}  // namespace starling::agent
