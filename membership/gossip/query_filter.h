// SPDX-License-Identifier: Apache-2.0
//
// Which members a query is for. Compiled once, asked of each member: by the asker, who has to know
// whom to wait for, and by each member about itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "membership/pattern.h"
#include "proto/gossip.pb.h"
#include "proto/support/result.h"

namespace starling::membership {

class QueryFilter {
 public:
  /// kInvalid: an expression does not compile; the message names the tag.
  static Result<QueryFilter> make(const proto::Query& query);

  /// What counts of a member that runs.
  struct Subject {
    std::string_view name;
    std::string_view display_name;  ///< differs when another member holds the name
    std::string_view tags;          ///< packed, see wire.h
    bool degraded = false;
  };
  [[nodiscard]] bool matches(const Subject& member) const;

 private:
  struct TagPattern {
    std::string key;
    Pattern pattern;
  };
  [[nodiscard]] bool names(const Subject& member) const;

  std::vector<std::string> nodes_;
  std::vector<TagPattern> tags_;
  proto::Audience audience_ = proto::AUDIENCE_ALIVE;
};

}  // namespace starling::membership
