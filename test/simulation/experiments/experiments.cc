// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/experiments.h"

namespace starling::simulation {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all = {
      {"detection", "how long a death stays unknown, silent or on a live host", run_detection},
      {"lifeguard-interval", "members stand still again and again (Lifeguard)",
       run_lifeguard_interval},
      {"lifeguard-threshold", "members stand still once (Lifeguard)", run_lifeguard_threshold},
      {"rapid", "one member in a hundred has a bad network (Rapid, ATC 2018)", run_rapid},
      {"bootstrap", "all members join at once through one seed (Rapid)", run_bootstrap},
      {"events", "how soon the last member has a user event, and what it costs", run_events},
      {"event-storm", "events under loss, churn and partitions: everywhere, once, in order",
       run_event_storm},
      {"loss", "every link loses packets, steadily", run_loss},
      {"scale", "what a cluster at rest sends, and how fast it is simulated", run_scale},
  };
  return all;
}

}  // namespace starling::simulation
