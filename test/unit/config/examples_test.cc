// SPDX-License-Identifier: Apache-2.0
//
// The example configurations and the documentation say what the code does.
#include <random>
#include <set>

#include "agent/config/keys.h"
#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

std::string source_file(const std::string& name) {
  return std::string(STARLING_SOURCE) + "/" + name;
}

std::string text_of(const std::string& name) {
  std::ifstream file(source_file(name), std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

Result<Config> load_example(const std::string& name) {
  return load_config({{"config-file", source_file("examples/config/" + name)}}, test_environment());
}

}  // namespace

TEST_CASE("the full example is the default configuration") {
  const auto full = load_example("full.yaml");
  REQUIRE(full);
  const auto plain = load_config({}, test_environment());
  REQUIRE(plain);
  CHECK(config_values(*full) == config_values(*plain));
  CHECK(full->warnings.size() == plain->warnings.size());
}

TEST_CASE("the full example holds every key") {
  const std::string text = text_of("examples/config/full.yaml");
  for (const auto& [key, value] : config_values(*load_config({}, test_environment()))) {
    CAPTURE(key);
    CHECK(text.find("\n" + key + ":") != std::string::npos);
  }
  for (const auto& key : config::protocol_keys()) {
    CAPTURE(key.name);
    CHECK(text.find("\n  " + std::string(key.name) + ": ") != std::string::npos);
  }
}

TEST_CASE("the minimal example loads") {
  const auto config = load_example("minimal.yaml");
  REQUIRE(config);
  CHECK(config->event_handlers.size() == 1);
}

TEST_CASE("the documentation names every key and every flag") {
  const std::string text = text_of("docs/configuration.md");
  for (const auto& key : config::config_keys()) {
    CAPTURE(key.name);
    CHECK(text.find("`" + std::string(key.name) + "`") != std::string::npos);
  }
  for (const FlagSpec& flag : agent_flags()) {
    CAPTURE(flag.name);
    CHECK(text.find("`-" + std::string(flag.name) + "`") != std::string::npos);
  }
}

TEST_CASE("mutated files are refused or loaded and nothing else") {
  const Folder folder;
  std::string base = text_of("examples/config/full.yaml");
  // Names would be looked up, which takes time and proves nothing here.
  base.erase(base.find("bind: \"\"\n"), 9);
  base.erase(base.find("advertise: \"\"\n"), 14);
  const std::string bits[] = {
      "[",   "]",  "{", "}", ":", "- ",   "\n",   "\t", "&a ", "*a",
      "!x ", "\"", "'", "|", "#", "\x01", "\xff", "0",  "-1",  "99999999999999999999",
      "~"};
  std::mt19937_64 random(7946);
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  size_t loaded = 0;
  size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    CAPTURE(round);
    std::string text = base;
    if (below(2) == 0) text = text.substr(0, below(text.size()));
    for (size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + below(20));
          break;
        case 2:
          text.insert(at, bits[below(std::size(bits))]);
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(40)));
          break;
      }
    }
    const std::string path = folder.write("m.yaml", text);
    const auto config = load_config({{"config-file", path}}, test_environment());
    if (config) {
      ++loaded;
    } else {
      ++refused;
      REQUIRE_FALSE(config.error().message.empty());
      REQUIRE(config.error().message.find('\n') == std::string::npos);
    }
  }
  CHECK(loaded > 100);
  CHECK(refused > 100);
}

}  // namespace starling::agent
