// SPDX-License-Identifier: Apache-2.0
//
// What survives a restart, as values: what the store hands back at start, and the changes to it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent/store/job_rows.h"
#include "membership/action.h"
#include "membership/address.h"
#include "membership/ids.h"
#include "membership/node.h"

namespace starling::agent {

/// A member as it is remembered: to be found again, not to be believed.
struct KnownMember {
  membership::NodeId id;
  std::string name;
  membership::Address address;
  int64_t seen = 0;   ///< unix seconds of the last change
  bool gone = false;  ///< failed when last heard of; it may come back
  bool left = false;  ///< took its leave
};

/// A user event that was accepted, and whose jobs have not been planned.
struct PendingEvent {
  membership::MessageId id;
  membership::LamportTime ltime = 0;
  std::string name;
  std::string payload;
  bool coalesce = false;
  membership::EventTiming timing = membership::EventTiming::kLive;
  std::string operator_name = {};  ///< who signed it, among those trusted when it came
  std::string operator_key = {};   ///< the id of the key
};

/// An operator's key that was trusted, or revoked, at run time.
struct StoredOperator {
  std::string key;  ///< 32 bytes
  std::string name;
  bool revoked = false;
  int64_t since_ms = 0;  ///< unix milliseconds
};

/// Signed orders that were carried out, and are still valid.
struct StoredOrders {
  std::vector<std::pair<std::string, int64_t>> orders;  ///< id, valid until then (unix ms)
  int64_t horizon_ms = 0;  ///< of those that are not remembered, none was valid for longer
};

/// Changes of tags at run time, which lie over the configured ones: a value, or none for a tag that
/// was removed.
using LiveTags = std::map<std::string, std::optional<std::string>>;

/// All that an earlier process left.
struct StoredState {
  std::vector<KnownMember> members;                     ///< last seen first
  std::vector<membership::Restored::KeptEvent> events;  ///< in order of arrival
  std::vector<membership::SaveProgress> progress;
  std::vector<membership::MessageId> queries;
  std::vector<PendingEvent> pending;                     ///< in order of arrival
  std::vector<membership::KnownCoordinate> coordinates;  ///< this node's has the id NodeId()
  std::vector<JobRow> jobs;  ///< those that have not ended, the oldest first
  uint64_t last_job = 0;     ///< the highest number that a job has had
  membership::Clocks clocks;
  LiveTags live_tags;
  std::vector<StoredOperator> operators;
  StoredOrders orders;
  std::vector<std::string> statements;  ///< of operators about nodes, encoded
  bool left = false;                    ///< the last process ended by leaving the cluster
};

// --- changes -----------------------------------------------------------------------------------

struct PutMember {
  KnownMember member;
};
struct DropMember {
  membership::NodeId id;
};
struct PutEvent {
  membership::MessageId id;
  std::string record;
  int64_t sent = 0;      ///< unix seconds
  bool durable = false;  ///< must outlive a loss of power: somebody was told that it is kept
};
/// To be handed to handlers, until SettleEvent.
struct PutPending {
  PendingEvent event;
};
/// The event needs no keeping any more: its jobs are planned.
struct SettleEvent {
  membership::MessageId id;
};
struct PutQuery {
  membership::MessageId id;
  int64_t expires = 0;  ///< unix seconds; kept until then
};
/// Where members are in the network. This node's own: under NodeId().
struct PutCoordinates {
  std::vector<membership::KnownCoordinate> coordinates;
};
struct PutLiveTags {
  LiveTags tags;
};
struct PutLeft {
  bool left = false;
};
/// Replaces what is kept of the same key.
struct PutOperator {
  StoredOperator changed;
};
/// What counts about a node; replaces what is kept about it.
struct PutStatement {
  std::string node;  ///< id
  std::string statement;
};
/// See StoredOrders.
struct PutOrder {
  std::string id;
  int64_t not_after_ms = 0;
  int64_t horizon_ms = 0;
};

using Change =
    std::variant<PutMember, DropMember, PutEvent, membership::SaveProgress, membership::ForgetEvent,
                 membership::ForgetProgress, PutPending, SettleEvent, PutJob, StartJob, EndJob,
                 PutQuery, membership::Clocks, PutCoordinates, PutLiveTags, PutLeft, PutOperator,
                 PutOrder, PutStatement>;
/// Carried out together or not at all.
using Changes = std::vector<Change>;

}  // namespace starling::agent
