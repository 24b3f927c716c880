// SPDX-License-Identifier: Apache-2.0
//
// What survives a process: applies the actions that ask for something to be kept, and hands it
// back as Restored. An action is on disk as soon as it is carried out (a killed process loses
// nothing that it was told to keep).
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>

#include "membership/action.h"
#include "membership/node.h"
#include "test/simulation/types.h"

namespace starling::simulation {

class Disk {
 public:
  static constexpr size_t kQueriesMax = 4096;

  void apply(const membership::Action& action);
  void save_clocks(const membership::Clocks& clocks) { clocks_ = clocks; }
  [[nodiscard]] membership::Restored restore() const;
  void wipe() { *this = Disk(); }

  [[nodiscard]] size_t events() const { return events_.size(); }
  [[nodiscard]] size_t progress() const { return progress_.size(); }
  [[nodiscard]] size_t members() const { return members_.size(); }

 private:
  void apply_member(const membership::MemberEvent& event);

  std::map<membership::NodeId, membership::Restored::KnownMember> members_;
  std::map<membership::MessageId, std::string> events_;
  std::map<std::pair<membership::NodeId, uint32_t>, membership::SaveProgress> progress_;
  std::deque<membership::MessageId> queries_;
  membership::Clocks clocks_;
};

}  // namespace starling::simulation
