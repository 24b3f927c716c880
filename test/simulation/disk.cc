// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/disk.h"

#include <algorithm>
#include <optional>

namespace starling::simulation {

using membership::MemberChange;

uint32_t WrittenMembers::number(const KnownMember& member) {
  const auto [place, added] = numbers_.try_emplace({member.id, member.name, member.address},
                                                   static_cast<uint32_t>(lines_.size()));
  if (added) lines_.push_back(member);
  return place->second;
}

void Disk::write(const WrittenMembers::KnownMember& member) {
  erase(member.id);
  members_.insert(written_->number(member), member.id.hash(),
                  [this](uint32_t number) { return written_->at(number).id.hash(); });
}

void Disk::erase(const membership::NodeId& id) {
  std::optional<uint32_t> old;
  members_.visit(id.hash(), [&](uint32_t number) {
    if (written_->at(number).id == id) old = number;
    return old.has_value();
  });
  if (!old) return;
  members_.erase(*old, id.hash(),
                 [this](uint32_t number) { return written_->at(number).id.hash(); });
}

void Disk::apply_member(const membership::MemberEvent& event) {
  const membership::Member& member = event.member;
  switch (event.change) {
    case MemberChange::kJoin:
    case MemberChange::kUpdate:
      write({member.id, member.name, member.address});
      break;
    case MemberChange::kLeave:
    case MemberChange::kReap:
      erase(member.id);
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
  members_.visit_all([&](uint32_t number) { restored.members.push_back(written_->at(number)); });
  std::sort(restored.members.begin(), restored.members.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  for (const auto& [id, record] : events_) restored.events.push_back({id, record});
  for (const auto& [key, progress] : progress_) restored.progress.push_back(progress);
  restored.queries.assign(queries_.begin(), queries_.end());
  restored.member_ltime = clocks_.member;
  restored.event_ltime = clocks_.event;
  restored.query_ltime = clocks_.query;
  return restored;
}

}  // namespace starling::simulation
