// SPDX-License-Identifier: Apache-2.0
//
// TagKeeper: what this member's tags are. Those of the configuration, with the changes made at run
// time over them; the changes survive restarts and reloads. With a tags file, as in Serf, the file
// holds all tags and there are no changes beside it. Event-loop thread only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "agent/store/store.h"
#include "proto/support/result.h"

namespace starling::agent {

class TagKeeper {
 public:
  using Map = std::map<std::string, std::string>;
  /// Makes the tags known to the cluster, or says why not.
  using Publish = std::function<Result<void>(const Map&)>;
  using Done = std::function<void(const Result<void>&)>;

  /// `store` outlives it. `file`: tags file, may be empty.
  TagKeeper(Store& store, Map configured, std::string file, LiveTags live);

  /// Before anything changes.
  void set_publish(Publish publish) { publish_ = std::move(publish); }

  [[nodiscard]] Map effective() const { return apply(configured_, live_); }

  /// Removes, then sets. `done` when the change is known to the cluster and kept; on an error of
  /// keeping, it is known all the same. Nothing changes when the tags become too large.
  void change(const std::vector<std::string>& remove, const Map& set, const Done& done);
  /// The configuration has been read again.
  Result<void> reconfigure(Map configured);
  /// Forgets the changes made at run time. Before set_publish().
  void drop_live();

 private:
  [[nodiscard]] static Map apply(Map tags, const LiveTags& live);

  Store& store_;
  Map configured_;
  const std::string file_;
  LiveTags live_;
  Publish publish_;
};

}  // namespace starling::agent
