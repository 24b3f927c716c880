// SPDX-License-Identifier: Apache-2.0
//
// Scenario files: YAML to a Scenario with what is expected of it, and back. docs/simulation.md
// describes the format. The one part of the simulator that knows yaml-cpp, and where its
// exceptions end. Pure but for read_scenario, which reads a file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/support/result.h"
#include "test/simulation/scenario.h"

namespace starling::simulation {

inline constexpr size_t kMaxScenarioBytes = 4U << 20;
inline constexpr size_t kMaxScenarioMembers = 20'000;
/// Of a scenario, repetitions counted.
inline constexpr size_t kMaxScenarioSteps = 100'000;

/// What a scenario file promises, beside the invariants. None: nothing is promised.
struct Expectations {
  std::optional<Duration> boot_within;
  /// Each crash: until the first, and until all members that were up and reachable know.
  std::optional<Duration> first_detection_within;
  std::optional<Duration> detected_within;
  /// Everybody agrees this long after the healing.
  std::optional<Duration> agree_within;
  /// Each event, at all members that were up when it was sent.
  std::optional<Duration> event_within;
  /// At most this many failure notices about members at which no fault was aimed; about those at
  /// which one was aimed but which ran; and across a partition or a cut.
  std::optional<size_t> false_failures;
  std::optional<size_t> disturbed_failures;
  std::optional<size_t> cut_off_failures;
  /// At most this many datagrams per member and second, on average.
  std::optional<size_t> packets_per_second;
};

struct ScenarioFile {
  Scenario scenario;
  Expectations expect;
  std::string about;  ///< one line, may be empty
};

/// What the command line says instead of the file.
struct ScenarioOverrides {
  std::optional<uint64_t> seed;
  std::optional<size_t> members;
};

/// `name` is the file's, for places. Errors: "name:line:column: what is wrong; what to do".
Result<ScenarioFile> parse_scenario(std::string_view text, const std::string& name,
                                    const ScenarioOverrides& overrides = {});
/// Of a file; "-" is standard input.
Result<ScenarioFile> read_scenario(const std::string& path,
                                   const ScenarioOverrides& overrides = {});

/// A file that parse_scenario reads as an equal scenario. `about` becomes a comment; lines.
[[nodiscard]] std::string write_scenario(const Scenario& scenario, std::string_view about = {});

}  // namespace starling::simulation
