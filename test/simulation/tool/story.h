// SPDX-License-Identifier: Apache-2.0
//
// One member's story in sentences, for people who want to know why it did what it did: whom it
// probed in vain and which helpers failed too, what it was told and by whom, what it then thought,
// and what was done to it. With packets, every packet too.
#pragma once

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "proto/gossip.pb.h"
#include "test/simulation/observer.h"
#include "test/simulation/scenario.h"
#include "test/simulation/world.h"

namespace starling::simulation {

class Story : public Observer {
 public:
  /// Tells what happens at `node`, as it happens. The world and `out` must outlive it.
  Story(World& world, NodeIndex node, bool packets, std::FILE* out);
  ~Story() override { tell_group(); }
  Story(const Story&) = delete;
  Story& operator=(const Story&) = delete;

  void phase(Phase phase);

  // Observer
  void process_started(NodeIndex node, bool with_state) override;
  void process_stopping(NodeIndex node, StopKind kind) override;
  void fault(Fault kind, NodeIndex node) override;
  void event_accepted(NodeIndex node, const membership::MessageId& id, std::string_view name,
                      std::string_view payload) override;
  void leave_started(NodeIndex node) override;
  void action(NodeIndex node, const membership::Action& action) override;
  void datagram_received(NodeIndex node, const Address& from, std::string_view bytes) override;

 private:
  /// A probe that is under way, by its sequence number.
  struct Probe {
    NodeIndex target = kNoNode;
    TimePoint sent;
    std::set<NodeIndex> helpers;
    std::set<NodeIndex> nacks;
    std::set<NodeIndex> refusals;
    bool told = false;  ///< that helpers were asked
  };
  /// What was last said about a member: status, incarnation, accusers, refused.
  using Claim = std::tuple<int, uint64_t, std::vector<std::string>, bool>;

  /// The same about several members at one instant, told as one sentence: "it shows members 3 and 4
  /// as ALIVE".
  struct Group {
    TimePoint at;
    std::string before;
    std::vector<NodeIndex> members;
    std::string after_one;
    std::string after_many;
  };

  void say(const std::string& text);
  void print(TimePoint at, const std::string& text);
  void say_of(const std::string& before, NodeIndex member, const std::string& after_one,
              const std::string& after_many);
  void tell_group();
  void packet(const std::string& text);
  [[nodiscard]] std::string name(NodeIndex node) const;
  [[nodiscard]] NodeIndex index(std::string_view wire);
  [[nodiscard]] std::string named(std::string_view wire) { return name(index(wire)); }
  [[nodiscard]] std::string named(const std::set<NodeIndex>& nodes) const;
  void sends(const membership::SendDatagram& datagram);
  void hears(const proto::Record& record, NodeIndex from, const char* how);
  void hears_about_itself(const proto::MemberRecord& member, NodeIndex from, const char* how);
  void answered(const proto::Ack& ack, NodeIndex from);
  void refused(const proto::Nack& nack, NodeIndex from);
  void asks_helpers();
  void notes(const std::string& text);
  void member_event(const membership::MemberEvent& event);

  World& world_;
  NodeIndex node_;
  bool packets_;
  std::FILE* out_;
  TimePoint begin_ = kNever;
  std::map<std::string, NodeIndex> ids_;  ///< wire form of every id that was seen
  std::map<uint32_t, Probe> probes_;
  std::map<NodeIndex, Claim> claims_;
  Group group_;
};

}  // namespace starling::simulation
