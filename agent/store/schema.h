// SPDX-License-Identifier: Apache-2.0
//
// The tables of the database, and how those of earlier versions become these. Jobs and trust bring
// their own (job_table.h, trust_table.h).
#pragma once

namespace starling::agent {

inline constexpr int kSchemaVersion = 6;

// Arrival is kept by the order of rowids: AUTOINCREMENT never uses one again.
inline constexpr const char* kSchema = R"sql(
  CREATE TABLE members (id BLOB PRIMARY KEY, name BLOB NOT NULL, ip BLOB NOT NULL,
    port INTEGER NOT NULL, seen INTEGER NOT NULL, gone INTEGER NOT NULL, departed INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
    epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, record BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0, UNIQUE (origin, epoch, sequence));
  CREATE TABLE progress (origin BLOB NOT NULL, epoch INTEGER NOT NULL, contiguous INTEGER NOT NULL,
    beyond BLOB NOT NULL, PRIMARY KEY (origin, epoch)) WITHOUT ROWID;
  CREATE TABLE queries (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
    epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, expires INTEGER NOT NULL,
    UNIQUE (origin, epoch, sequence));
  CREATE TABLE pending (number INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL,
    epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, ltime INTEGER NOT NULL, name BLOB NOT NULL,
    payload BLOB NOT NULL, coalesce INTEGER NOT NULL, timing INTEGER NOT NULL DEFAULT 0,
    operator_name BLOB NOT NULL DEFAULT x'', operator_key BLOB NOT NULL DEFAULT x'',
    UNIQUE (origin, epoch, sequence));
  CREATE TABLE coordinates (id BLOB PRIMARY KEY, coordinate BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE tags (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
  CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
)sql";

// Version 1 wrote down in `started` what had begun for an event that was pending. What has begun
// must not begin again: an event of which anything has is done with.
inline constexpr const char* kFromVersion1 = R"sql(
  DELETE FROM pending WHERE EXISTS (SELECT 1 FROM started WHERE started.origin = pending.origin
    AND started.epoch = pending.epoch AND started.sequence = pending.sequence);
  DROP TABLE started;
)sql";

// Version 2 did not know when an event was sent, nor that it was missed. What it kept counts as
// sent at the time of the change.
inline constexpr const char* kFromVersion2 = R"sql(
  ALTER TABLE events ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE pending ADD COLUMN timing INTEGER NOT NULL DEFAULT 0;
  UPDATE events SET sent = unixepoch();
)sql";

// Version 3 kept no coordinates.
inline constexpr const char* kFromVersion3 = R"sql(
  CREATE TABLE coordinates (id BLOB PRIMARY KEY, coordinate BLOB NOT NULL) WITHOUT ROWID;
)sql";

// Version 4 knew nothing of operators.
inline constexpr const char* kFromVersion4 = R"sql(
  ALTER TABLE pending ADD COLUMN operator_name BLOB NOT NULL DEFAULT x'';
  ALTER TABLE pending ADD COLUMN operator_key BLOB NOT NULL DEFAULT x'';
)sql";

}  // namespace starling::agent
