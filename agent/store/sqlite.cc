// SPDX-License-Identifier: Apache-2.0
#include "agent/store/sqlite.h"

#include <cstring>

namespace starling::agent::sqlite {

Error describe(sqlite3* connection, const std::string& path) {
  const int code = sqlite3_errcode(connection);
  const int system = sqlite3_system_errno(connection);
  const std::string text = sqlite3_errmsg(connection);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return {ErrorKind::kUnavailable, path + ": no space is left: free some"};
    case SQLITE_READONLY:
      return {ErrorKind::kUnavailable,
              path + " is read-only: give the agent's user write access to it and its directory"};
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return {ErrorKind::kUnavailable,
              "cannot open " + path + ": " + (system != 0 ? std::strerror(system) : text)};
    case SQLITE_IOERR:
      return {ErrorKind::kUnavailable,
              path + ": " + (system != 0 ? std::strerror(system) : text) + ": check the disk"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorKind::kConflict,
              path + " is locked by another program: close it (fuser " + path + " names it)"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {ErrorKind::kInternal,
              path + " is damaged (" + text + "): restart the agent, and it begins a new one"};
    default:
      return {ErrorKind::kInternal, path + ": " + text};
  }
}

int execute(sqlite3* connection, const char* sql) {
  return sqlite3_exec(connection, sql, nullptr, nullptr, nullptr);
}

int Statement::prepare(sqlite3* connection, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(connection, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  statement_.reset(statement);
  return code;
}

Statement& Statement::bind(int64_t value) {
  sqlite3_bind_int64(statement_.get(), ++bound_, value);
  return *this;
}

Statement& Statement::bind_null() {
  sqlite3_bind_null(statement_.get(), ++bound_);
  return *this;
}

Statement& Statement::text(std::string_view value) {
  sqlite3_bind_text64(statement_.get(), ++bound_, value.empty() ? "" : value.data(), value.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

Statement& Statement::blob(std::string_view value) {
  sqlite3_bind_blob64(statement_.get(), ++bound_, value.empty() ? "" : value.data(), value.size(),
                      SQLITE_STATIC);
  return *this;
}

Statement& Statement::message(const membership::MessageId& id) {
  return blob(id.origin.wire()).bind(id.epoch).bind(static_cast<int64_t>(id.sequence));
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  bound_ = 0;
  column_ = 0;
}

int Statement::step() {
  const int code = sqlite3_step(statement_.get());
  column_ = 0;
  if (code != SQLITE_ROW) reset();
  return code;
}

int Statement::run() {
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = step();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int64_t Statement::integer() {
  return sqlite3_column_int64(statement_.get(), column_++);
}

std::string Statement::bytes() {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column_));
  const int size = sqlite3_column_bytes(statement_.get(), column_++);
  return data == nullptr ? std::string() : std::string(data, static_cast<size_t>(size));
}

bool Statement::is_null() {
  return sqlite3_column_type(statement_.get(), column_) == SQLITE_NULL;
}

membership::MessageId Statement::message() {
  membership::MessageId id;
  id.origin = membership::NodeId::from_wire(bytes()).value_or(membership::NodeId{});
  id.epoch = static_cast<uint32_t>(integer());
  id.sequence = static_cast<uint64_t>(integer());
  return id;
}

}  // namespace starling::agent::sqlite
