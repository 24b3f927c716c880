// SPDX-License-Identifier: Apache-2.0
#include "agent/store/trust_table.h"

#include <string>
#include <utility>

namespace starling::agent {

using sqlite::Statement;

const char* const TrustTable::kSchema = R"sql(
  CREATE TABLE operators (key BLOB PRIMARY KEY, name BLOB NOT NULL, revoked INTEGER NOT NULL,
    since INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE orders (id BLOB PRIMARY KEY, not_after INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE order_horizon (one INTEGER PRIMARY KEY CHECK (one = 1), horizon INTEGER NOT NULL);
)sql";

const char* const TrustTable::kFromVersion5 = R"sql(
  CREATE TABLE nodes (id BLOB PRIMARY KEY, statement BLOB NOT NULL) WITHOUT ROWID;
)sql";

int TrustTable::prepare(sqlite3* connection) {
  constexpr std::array<const char*, kQueries> kSql = {
      "INSERT OR REPLACE INTO operators VALUES (?, ?, ?, ?)",
      "INSERT OR REPLACE INTO orders VALUES (?, ?)",
      "INSERT OR REPLACE INTO order_horizon VALUES (1, ?)",
      "INSERT OR REPLACE INTO nodes VALUES (?, ?)",
      "DELETE FROM orders WHERE not_after <= (SELECT horizon FROM order_horizon)",
  };
  connection_ = connection;
  int code = SQLITE_OK;
  for (size_t i = 0; i < kQueries && code == SQLITE_OK; ++i) {
    code = statements_[i].prepare(connection, kSql[i]);
  }
  return code;
}

int TrustTable::put(const PutOperator& change) {
  const StoredOperator& changed = change.changed;
  return statements_[kPutOperator]
      .blob(changed.key)
      .blob(changed.name)
      .bind(changed.revoked ? 1 : 0)
      .bind(changed.since_ms)
      .run();
}

int TrustTable::put(const PutOrder& change) {
  const int code = statements_[kPutOrder].blob(change.id).bind(change.not_after_ms).run();
  return code == SQLITE_OK ? statements_[kPutHorizon].bind(change.horizon_ms).run() : code;
}

int TrustTable::put(const PutStatement& change) {
  return statements_[kPutNode].blob(change.node).blob(change.statement).run();
}

int TrustTable::load(StoredState& state) {
  Statement operators;
  int code = operators.prepare(connection_,
                               "SELECT key, name, revoked, since FROM operators ORDER BY key");
  if (code != SQLITE_OK) return code;
  while ((code = operators.step()) == SQLITE_ROW) {
    StoredOperator stored;
    stored.key = operators.bytes();
    stored.name = operators.bytes();
    stored.revoked = operators.integer() != 0;
    stored.since_ms = operators.integer();
    state.operators.push_back(std::move(stored));
  }
  if (code != SQLITE_DONE) return code;
  Statement orders;
  code = orders.prepare(connection_, "SELECT id, not_after FROM orders");
  if (code != SQLITE_OK) return code;
  while ((code = orders.step()) == SQLITE_ROW) {
    std::string id = orders.bytes();
    state.orders.orders.emplace_back(std::move(id), orders.integer());
  }
  if (code != SQLITE_DONE) return code;
  Statement nodes;
  code = nodes.prepare(connection_, "SELECT statement FROM nodes ORDER BY id");
  if (code != SQLITE_OK) return code;
  while ((code = nodes.step()) == SQLITE_ROW) state.statements.push_back(nodes.bytes());
  if (code != SQLITE_DONE) return code;
  Statement horizon;
  code = horizon.prepare(connection_, "SELECT horizon FROM order_horizon");
  if (code != SQLITE_OK) return code;
  while ((code = horizon.step()) == SQLITE_ROW) state.orders.horizon_ms = horizon.integer();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

int TrustTable::sweep() {
  return statements_[kSweep].run();
}

}  // namespace starling::agent
