// SPDX-License-Identifier: Apache-2.0
#include "membership/gossip/query_filter.h"

#include <algorithm>
#include <utility>

#include "membership/wire.h"

namespace starling::membership {

Result<QueryFilter> QueryFilter::make(const proto::Query& query) {
  QueryFilter filter;
  filter.nodes_.assign(query.filter_nodes().begin(), query.filter_nodes().end());
  for (const proto::TagFilter& tag : query.filter_tags()) {
    auto pattern = Pattern::compile(tag.expression(), false);
    if (!pattern) {
      return fail(pattern.error().kind,
                  "filter of tag '" + tag.key() + "': " + pattern.error().message);
    }
    filter.tags_.push_back({tag.key(), std::move(*pattern)});
  }
  filter.audience_ = query.audience();
  return filter;
}

bool QueryFilter::names(const Subject& member) const {
  return nodes_.empty() || std::ranges::any_of(nodes_, [&](const std::string& node) {
           // A name may hold the signs of a pattern itself.
           return node == member.name || node == member.display_name ||
                  glob_matches(node, member.name);
         });
}

bool QueryFilter::matches(const Subject& member) const {
  if (audience_ == proto::AUDIENCE_HEALTHY && member.degraded) return false;
  if (audience_ == proto::AUDIENCE_DEGRADED && !member.degraded) return false;
  return names(member) && std::ranges::all_of(tags_, [&](const TagPattern& tag) {
           return tag.pattern.matches(find_tag(member.tags, tag.key));
         });
}

}  // namespace starling::membership
