// SPDX-License-Identifier: Apache-2.0
//
// What the checker can see only in the production core at work: a part of its output is withheld.
#include "test/catch.h"
#include "test/simulation/checker.h"
#include "test/simulation/node_process.h"

namespace starling::simulation {
namespace {

/// A node whose datagrams to one address are never sent.
class Withholding : public NodeProcess {
 public:
  using NodeProcess::NodeProcess;
  Address withheld;
  [[nodiscard]] membership::Actions take_actions() override {
    membership::Actions actions = NodeProcess::take_actions();
    std::erase_if(actions, [this](const membership::Action& action) {
      const auto* datagram = std::get_if<membership::SendDatagram>(&action);
      return datagram != nullptr && datagram->to == withheld;
    });
    return actions;
  }
};

std::string run(bool withhold) {
  WorldOptions options;
  const std::shared_ptr<membership::DescriptionPool> descriptions;
  options.make_process = [&](NodeIndex node, const membership::Options& node_options,
                             const membership::Identity& identity, Random random, TimePoint now,
                             membership::Restored restored) {
    auto process = std::make_unique<Withholding>(node_options, identity, random, now,
                                                 std::move(restored), descriptions);
    if (withhold && node == 0) process->withheld = address_of(1, 0);
    return process;
  };
  World world(options);
  Checker checker(world, CheckerOptions());
  for (int i = 0; i < 5; ++i) world.add_node();
  for (const NodeIndex node : {0U, 1U, 3U, 4U}) world.join(node, {2});
  world.run_for(300s);
  return checker.report();
}

TEST_CASE("a member that is never probed is seen") {
  CHECK(run(false).empty());
  CHECK(run(true).find("probe-coverage") != std::string::npos);
}

}  // namespace
}  // namespace starling::simulation
