// SPDX-License-Identifier: Apache-2.0
#include "agent/tag_keeper.h"

#include <utility>

#include "agent/config/tags_file.h"

namespace starling::agent {

TagKeeper::TagKeeper(Store& store, Map configured, std::string file, LiveTags live)
    : store_(store), configured_(std::move(configured)), file_(std::move(file)) {
  if (file_.empty()) live_ = std::move(live);
}

TagKeeper::Map TagKeeper::apply(Map tags, const LiveTags& live) {
  for (const auto& [key, value] : live) {
    if (value) {
      tags[key] = *value;
    } else {
      tags.erase(key);
    }
  }
  return tags;
}

void TagKeeper::change(const std::vector<std::string>& remove, const Map& set, const Done& done) {
  LiveTags changes;
  for (const std::string& key : remove) changes[key] = std::nullopt;
  for (const auto& [key, value] : set) changes[key] = value;
  const Map tags = apply(effective(), changes);
  if (auto published = publish_(tags); !published) return done(published);
  if (!file_.empty()) {
    configured_ = tags;
    return done(save_tags_file(file_, tags));
  }
  for (auto& [key, value] : changes) {
    // A removal is remembered only while there is something to remove.
    if (!value && !configured_.contains(key)) {
      live_.erase(key);
    } else {
      live_[key] = std::move(value);
    }
  }
  store_.save({PutLiveTags{live_}}, done);
}

void TagKeeper::drop_live() {
  live_.clear();
  store_.save({PutLiveTags{}});
}

Result<void> TagKeeper::reconfigure(Map configured) {
  if (auto published = publish_(apply(configured, live_)); !published) return published;
  configured_ = std::move(configured);
  return {};
}

}  // namespace starling::agent
