// SPDX-License-Identifier: Apache-2.0
#include "agent/config/convert.h"

#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

constexpr const char* kSerf = R"({
  "node_name": "web1", "role": "web", "tags": {"dc": "x"}, "rpc_addr": "127.0.0.1:7373",
  "retry_interval": "10s", "start_join": ["10.0.0.1", "10.0.0.2:7946"],
  "event_handlers": ["user:deploy=/bin/deploy.sh", "monitor.sh"],
  "snapshot_path": "/var/serf", "leave_on_terminate": true, "protocol": 5,
  "encrypt_key": "c2l4dGVlbiBieXRlcyE3Nw=="
})";

}  // namespace

TEST_CASE("a file of Serf becomes YAML that means the same") {
  const Folder folder;
  const auto converted = convert_config(folder.write("serf.json", kSerf));
  REQUIRE(converted);
  CHECK(converted->find("\n# name of this node") != std::string::npos);
  CHECK(converted->find("# Not taken over: ignored: Starling keeps its state in data_dir\n"
                        "# snapshot_path: \"/var/serf\"\n") != std::string::npos);
  CHECK(converted->find("c2l4dGVlbiBieXRlcyE3Nw") == std::string::npos);
  CHECK(converted->find("# encrypt_key: null") != std::string::npos);
  const auto config =
      load_config({{"config-file", folder.write("agent.yaml", *converted)}}, test_environment());
  REQUIRE(config);
  CHECK(config->node_name == "web1");
  CHECK(config->tags == std::map<std::string, std::string>{{"dc", "x"}, {"role", "web"}});
  CHECK(config->start_join == std::vector<std::string>{"10.0.0.1", "10.0.0.2:7946"});
  CHECK(config->retry_interval == std::chrono::seconds(10));
  CHECK(config->leave_on_terminate);
  REQUIRE(config->event_handlers.size() == 2);
  CHECK(config->event_handlers[0].spec == "user:deploy=/bin/deploy.sh");
  // The keys without effect are comments now; what is left is that there is no cluster key.
  CHECK(config->warnings.size() == 1);
}

TEST_CASE("a file with a mistake is not converted") {
  const Folder folder;
  const auto unknown = convert_config(folder.write("serf.json", R"({"bnid": "x"})"));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message.find("did you mean 'bind'?") != std::string::npos);
  CHECK_FALSE(convert_config(folder.path("none.json")));
  const auto wrong = convert_config(folder.write("serf.json", R"({"retry_interval": "soon"})"));
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message.find("serf.json:1:20") != std::string::npos);
}

}  // namespace starling::agent
