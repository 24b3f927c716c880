// SPDX-License-Identifier: Apache-2.0
//
// The experiments behind docs/results: each compares Starling with the memberlist model under one
// kind of trouble, prints a table, and writes it as NAME.txt and a chart of it as NAME.svg.
#pragma once

#include <string>
#include <vector>

namespace starling::simulation {

struct ExperimentOptions {
  unsigned seeds = 0;  ///< runs of each cell; 0: as many as the experiment takes by itself
  unsigned first_seed = 1;
  unsigned jobs = 1;            ///< threads; a run takes one
  std::vector<size_t> members;  ///< cluster sizes; empty: the experiment's own
  std::string rows;             ///< only these, by name or a part of it, with commas
  std::string out;              ///< directory for NAME.txt and NAME.svg; empty: write no files
  bool quick = false;           ///< few seeds and small sizes: to see that it works
  bool verbose = false;         ///< print every failure of a healthy member
};

struct Experiment {
  std::string name;
  std::string description;
  /// 0, or 1 when a file could not be written or what must hold did not.
  int (*run)(const ExperimentOptions& options);
};

const std::vector<Experiment>& experiments();

int run_bootstrap(const ExperimentOptions& options);
int run_detection(const ExperimentOptions& options);
int run_event_storm(const ExperimentOptions& options);
int run_events(const ExperimentOptions& options);
int run_lifeguard_interval(const ExperimentOptions& options);
int run_lifeguard_threshold(const ExperimentOptions& options);
int run_loss(const ExperimentOptions& options);
int run_rapid(const ExperimentOptions& options);
int run_scale(const ExperimentOptions& options);

}  // namespace starling::simulation
