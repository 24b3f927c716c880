// SPDX-License-Identifier: Apache-2.0
#include "agent/tag_keeper.h"

#include <asio.hpp>

#include "agent/config/tags_file.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using Map = TagKeeper::Map;

struct Fixture {
  Fixture() { reopen(); }

  void reopen() {
    store.reset();
    auto opened = Store::open(io, scratch.path());
    REQUIRE(opened);
    store = std::move(*opened);
    live = store->take_state().live_tags;
  }
  TagKeeper keeper(Map configured, const std::string& file = {}) {
    TagKeeper tags(*store, std::move(configured), file, live);
    tags.set_publish([this](const Map& now) -> Result<void> {
      if (now.contains("huge")) return fail(ErrorKind::kTooLarge, "too large");
      published = now;
      return {};
    });
    return tags;
  }
  /// Changes, and waits until it is kept.
  Result<void> change(TagKeeper& tags, const std::vector<std::string>& remove, const Map& set) {
    std::optional<Result<void>> result;
    tags.change(remove, set, [&](const Result<void>& done) { result = done; });
    store->flush();
    while (!result) {
      io.restart();
      io.run_for(std::chrono::milliseconds(10));
    }
    return *result;
  }

  const Scratch scratch;
  asio::io_context io;
  std::unique_ptr<Store> store;
  LiveTags live;
  Map published;
};

TEST_CASE_METHOD(Fixture, "live tags lie over the configured ones") {
  TagKeeper tags = keeper({{"dc", "east"}, {"role", "web"}});
  REQUIRE(change(tags, {"dc", "none"}, {{"rack", "7"}, {"role", "db"}}));
  CHECK(published == Map{{"rack", "7"}, {"role", "db"}});
  CHECK(tags.effective() == published);
}

TEST_CASE_METHOD(Fixture, "what is removed and set at once is set") {
  TagKeeper tags = keeper({});
  REQUIRE(change(tags, {"a"}, {{"a", "b"}}));
  CHECK(published == Map{{"a", "b"}});
}

TEST_CASE_METHOD(Fixture, "live tags survive a restart") {
  {
    TagKeeper tags = keeper({{"dc", "east"}});
    REQUIRE(change(tags, {"dc"}, {{"role", "db"}}));
    REQUIRE(change(tags, {}, {{"more", ""}}));
  }
  reopen();
  CHECK(keeper({{"dc", "east"}, {"new", "x"}}).effective() ==
        Map{{"role", "db"}, {"more", ""}, {"new", "x"}});
}

TEST_CASE_METHOD(Fixture, "a reload changes configured tags and keeps live ones") {
  TagKeeper tags = keeper({{"version", "one"}, {"dc", "east"}});
  REQUIRE(change(tags, {"dc"}, {{"live", "yes"}}));
  REQUIRE(tags.reconfigure({{"version", "two"}, {"dc", "west"}}));
  CHECK(published == Map{{"version", "two"}, {"live", "yes"}});
}

TEST_CASE_METHOD(Fixture, "tags that are refused change nothing") {
  TagKeeper tags = keeper({{"a", "b"}});
  const auto refused = change(tags, {"a"}, {{"huge", "x"}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kTooLarge);
  CHECK_FALSE(tags.reconfigure({{"huge", "x"}}));
  CHECK(tags.effective() == Map{{"a", "b"}});
  reopen();
  CHECK(live.empty());
}

TEST_CASE_METHOD(Fixture, "with a tags file the file holds all tags and a reload keeps them") {
  const std::string file = scratch / "tags.json";
  TagKeeper tags = keeper({{"a", "b"}}, file);
  REQUIRE(change(tags, {"a"}, {{"role", "db"}}));
  const auto saved = load_tags_file(file);
  REQUIRE(saved);
  CHECK(*saved == Map{{"role", "db"}});
  REQUIRE(tags.reconfigure(*saved));  // as the configuration reads it
  CHECK(published == Map{{"role", "db"}});
  reopen();
  CHECK(live.empty());
}

TEST_CASE_METHOD(Fixture, "live tags can be dropped for good") {
  {
    TagKeeper tags = keeper({});
    REQUIRE(change(tags, {}, {{"a", "b"}}));
    tags.drop_live();
    CHECK(tags.effective().empty());
  }
  reopen();
  CHECK(live.empty());
}

}  // namespace
}  // namespace starling::agent
