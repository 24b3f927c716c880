// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/disk.h"

namespace starling::simulation {

using membership::MemberChange;

void Disk::apply_member(const membership::MemberEvent& event) {
  const membership::Member& member = event.member;
  switch (event.change) {
    case MemberChange::kJoin:
    case MemberChange::kUpdate:
      members_[member.id] = {member.id, member.name, member.address};
      break;
    case MemberChange::kLeave:
    case MemberChange::kReap:
      members_.erase(member.id);
      break;
    case MemberChange::kFailed:
      break;  // it may come back: still worth trying
  }
}

void Disk::apply(const membership::Action& action) {
  if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    apply_member(*member);
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    events_[event->id] = event->record;
  } else if (const auto* query = std::get_if<membership::QueryArrived>(&action)) {
    queries_.push_back(query->id);
    if (queries_.size() > kQueriesMax) queries_.pop_front();
  } else if (const auto* progress = std::get_if<membership::SaveProgress>(&action)) {
    progress_[{progress->origin, progress->epoch}] = *progress;
  } else if (const auto* forget_event = std::get_if<membership::ForgetEvent>(&action)) {
    events_.erase(forget_event->id);
  } else if (const auto* forget = std::get_if<membership::ForgetProgress>(&action)) {
    progress_.erase({forget->origin, forget->epoch});
  }
}

membership::Restored Disk::restore() const {
  membership::Restored restored;
  for (const auto& [id, member] : members_) restored.members.push_back(member);
  for (const auto& [id, record] : events_) restored.events.push_back({id, record});
  for (const auto& [key, progress] : progress_) restored.progress.push_back(progress);
  restored.queries.assign(queries_.begin(), queries_.end());
  restored.member_ltime = clocks_.member;
  restored.event_ltime = clocks_.event;
  restored.query_ltime = clocks_.query;
  return restored;
}

}  // namespace starling::simulation
