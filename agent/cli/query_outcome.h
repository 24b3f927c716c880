// SPDX-License-Identifier: Apache-2.0
//
// What came back for a query, gathered for the totals and for JSON. Bounded by the members asked.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/control.pb.h"

namespace starling::agent {

struct QueryOutcome {
  struct Response {
    std::string handler;  ///< empty: the member's only one
    unsigned position = 0;
    std::string payload;
  };
  struct Failure {
    std::string node;
    std::string handler;
    std::string reason;  ///< "failed", "too-large", "busy"
    std::string error;
    std::string output;
    std::optional<int> exit_status;
  };

  std::vector<std::string> acks;                           ///< in order of arrival
  std::map<std::string, std::vector<Response>> responses;  ///< by node
  std::size_t response_count = 0;
  std::vector<Failure> failures;
  std::set<std::string> no_handler;
  std::set<std::string> no_answer;                          ///< the handlers printed nothing
  std::vector<std::pair<std::string, std::string>> silent;  ///< node, why
  std::vector<std::string> lost;
  bool timed_out = false;
  bool limited = false;
  std::size_t addressed = 0;
  std::set<std::string> finished;  ///< nodes that will say no more

  void add(const control::QueryAnswer& answer);
  void end(const control::QueryDone& done);
  /// For each reason, in words, the nodes of which there is no response. Failures are not here.
  [[nodiscard]] std::vector<std::pair<std::string, std::vector<std::string>>> missing() const;
};

/// Why a node has no response: its own words, or ours when it gave none.
std::string failure_text(const QueryOutcome::Failure& failure);

}  // namespace starling::agent
