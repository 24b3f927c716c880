// SPDX-License-Identifier: Apache-2.0
//
// What came back for a query, gathered for the totals and for JSON. Bounded by the members asked.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "proto/control.pb.h"

namespace starling::agent {

struct QueryOutcome {
  std::vector<std::string> acks;                 ///< in order of arrival
  std::map<std::string, std::string> responses;  ///< node, payload
  std::map<std::string, std::string> failures;   ///< node, why
  std::vector<std::string> silent;
  bool timed_out = false;
  std::size_t addressed = 0;
  std::set<std::string> finished;  ///< nodes that will say no more

  void add(const control::QueryAnswer& answer);
};

/// Why a node has no response: its own words, or ours when it gave none.
std::string failure_text(const control::QueryAnswer& answer);

}  // namespace starling::agent
