// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/experiments/table_command.h"

#include <cstdio>

namespace starling::simulation {

TableCommand::TableCommand(CLI::App& program)
    : command_(program.add_subcommand(
          "table",
          "compare Starling with a model of memberlist in one of the field's experiments")) {
  std::string names;
  for (const Experiment& experiment : experiments()) {
    names += "\n  " + experiment.name + ": " + experiment.description;
  }
  command_->footer("Experiments:" + names);
  command_->add_option("experiment", name_, "which one; see below, or 'list'")->required();
  command_->add_option("--seeds", options_.seeds, "runs of each cell; 0: the experiment's own")
      ->capture_default_str();
  command_->add_option("--first-seed", options_.first_seed, "seed of the first run")
      ->capture_default_str();
  command_->add_option("--jobs", options_.jobs, "runs side by side")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command_->add_option("--members", options_.members, "cluster sizes, N,N,...")->delimiter(',');
  command_->add_option("--rows", options_.rows,
                       "only the row of this name, or else those that contain it");
  command_->add_option("--out", options_.out, "write NAME.txt and NAME.svg to this directory");
  command_->add_flag("--quick", options_.quick, "few runs and small sizes");
  command_->add_flag("--verbose", options_.verbose, "print every failure of a healthy member");
}

int TableCommand::run() const {
  for (const Experiment& experiment : experiments()) {
    if (experiment.name == name_) return experiment.run(options_);
  }
  if (name_ != "list") {
    std::fprintf(stderr, "starling-sim: no experiment '%s'; there are:\n", name_.c_str());
  }
  for (const Experiment& experiment : experiments()) {
    std::printf("%-20s %s\n", experiment.name.c_str(), experiment.description.c_str());
  }
  return name_ == "list" ? 0 : 2;
}

}  // namespace starling::simulation
