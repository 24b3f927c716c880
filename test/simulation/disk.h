// SPDX-License-Identifier: Apache-2.0
//
// What survives a process: applies the actions that ask for something to be kept, and hands it
// back as Restored. An action is on disk as soon as it is carried out (a killed process loses
// nothing that it was told to keep).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "membership/action.h"
#include "membership/node.h"
#include "membership/swim/slot_index.h"
#include "test/simulation/types.h"

namespace starling::simulation {

/// What was ever written on any disk of a world about a member, once each: thousands of disks that
/// hold thousands of members refer to it.
class WrittenMembers {
 public:
  using KnownMember = membership::Restored::KnownMember;

  /// The number of this very line.
  uint32_t number(const KnownMember& member);
  [[nodiscard]] const KnownMember& at(uint32_t number) const { return lines_[number]; }

 private:
  std::deque<KnownMember> lines_;
  std::map<std::tuple<membership::NodeId, std::string, Address>, uint32_t> numbers_;
};

class Disk {
 public:
  static constexpr size_t kQueriesMax = 4096;

  explicit Disk(std::shared_ptr<WrittenMembers> written = std::make_shared<WrittenMembers>())
      : written_(std::move(written)) {}

  void apply(const membership::Action& action);
  void save_clocks(const membership::Clocks& clocks) { clocks_ = clocks; }
  [[nodiscard]] const membership::Clocks& clocks() const { return clocks_; }
  [[nodiscard]] membership::Restored restore() const;
  void wipe() { *this = Disk(written_); }

  [[nodiscard]] size_t events() const { return events_.size(); }
  [[nodiscard]] size_t progress() const { return progress_.size(); }
  [[nodiscard]] size_t members() const { return members_.size(); }
  /// Members to find the cluster through again, in no particular order.
  template <typename Visit>
  void visit_members(const Visit& visit) const {
    members_.visit_all([&](uint32_t number) { visit(written_->at(number)); });
  }

 private:
  void apply_member(const membership::MemberEvent& event);
  void write(const WrittenMembers::KnownMember& member);
  void erase(const membership::NodeId& id);

  std::shared_ptr<WrittenMembers> written_;
  membership::SlotIndex members_;  ///< numbers of lines, by id; one for each id
  std::map<membership::MessageId, std::string> events_;
  std::map<std::pair<membership::NodeId, uint32_t>, membership::SaveProgress> progress_;
  std::deque<membership::MessageId> queries_;
  membership::Clocks clocks_;
};

}  // namespace starling::simulation
