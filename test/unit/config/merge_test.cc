// SPDX-License-Identifier: Apache-2.0
//
// Several sources: order, overriding, appending, merging, reloading.
#include <filesystem>

#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

using std::chrono::seconds;

TEST_CASE("without any source the defaults hold") {
  const auto config = load_config({}, test_environment());
  REQUIRE(config);
  CHECK(config->node_name == "ada-host");
  CHECK(config->data_dir == "/home/ada/.local/state/starling");
  CHECK(config->control == "/home/ada/.local/state/starling/control.sock");
  CHECK(config->bind.to_string() == "127.0.0.1:7946");
  CHECK(config->retry_interval == seconds(30));
  CHECK(config->handler_timeout == std::chrono::minutes(10));
  CHECK(config->handler_concurrency == 1);
  CHECK(config->broadcast_timeout == seconds(5));
  CHECK(config->log_level == LogLevel::kInfo);
  CHECK(config->options.validate());
  CHECK_FALSE(config->leave_on_terminate);
  CHECK_FALSE(config->skip_leave_on_interrupt);
  CHECK(config->keys.empty());
  REQUIRE(config->warnings.size() == 1);
  CHECK(config->warnings[0].to_string().starts_with("no cluster key: listening on loopback only."));
}

TEST_CASE("files come before flags and later ones override append and merge") {
  const Folder folder;
  const auto one = folder.write("one.yaml",
                                "node_name: one\nretry_interval: 5s\nstart_join: [a]\n"
                                "tags: {dc: east, role: web}\nreplay_on_join: true\n"
                                "event_handlers: [one.sh]\n");
  const auto two = folder.write(
      "two.json", R"({"node_name": "two", "start_join": ["b"], "tags": {"role": "db"},)"
                  R"("event_handlers": ["member-join=two.sh"]})");
  const auto config = load_config({{"join", "c"},
                                   {"config-file", one},
                                   {"tag", "rack=7"},
                                   {"config-file", two},
                                   {"replay", "false"},
                                   {"event-handler", "three.sh"},
                                   {"join", "d"}},
                                  test_environment());
  REQUIRE(config);
  CHECK(config->node_name == "two");
  CHECK(config->retry_interval == seconds(5));
  CHECK(config->start_join == std::vector<std::string>{"a", "b", "c", "d"});
  CHECK(config->tags ==
        std::map<std::string, std::string>{{"dc", "east"}, {"role", "db"}, {"rack", "7"}});
  CHECK_FALSE(config->replay_on_join);
  REQUIRE(config->event_handlers.size() == 3);
  CHECK(config->event_handlers[0].place == one + ":6:18");
  CHECK(config->event_handlers[1].spec == "member-join=two.sh");
  CHECK(config->event_handlers[2].place == "-event-handler");
  CHECK(config->files == std::vector<std::string>{one, two});
}

TEST_CASE("a folder is read by name and one level deep") {
  const Folder folder;
  folder.write("20.yml", "node_name: second\nretry_join: [b]\n");
  folder.write("10.yaml", "node_name: first\nretry_join: [a]\n");
  folder.write("30.json", R"({"retry_join": ["c"]})");
  folder.write("readme.txt", "not: [a configuration");
  folder.write(".hidden.yaml", "not: [a configuration");
  std::filesystem::create_directory(folder.path("40.yaml"));
  std::filesystem::create_directory(folder.path("deeper"));
  folder.write("deeper/50.yaml", "node_name: deep\n");
  const auto config = load_config({{"config-dir", folder.path()}}, test_environment());
  REQUIRE(config);
  CHECK(config->node_name == "second");
  CHECK(config->retry_join == std::vector<std::string>{"a", "b", "c"});
  CHECK(config->files.size() == 3);
}

TEST_CASE("an empty folder is a warning") {
  const Folder folder;
  const auto config = load_config({{"config-dir", folder.path()}}, test_environment());
  REQUIRE(config);
  CHECK(config->warnings.at(0).to_string().starts_with("-config-dir: no *.yaml, *.yml or *.json"));
}

TEST_CASE("the last of a flag that does not repeat counts") {
  const auto config =
      load_config({{"node", "a"}, {"node", "b"}, {"syslog", "1"}}, test_environment());
  REQUIRE(config);
  CHECK(config->node_name == "b");
  CHECK(config->enable_syslog);
}

TEST_CASE("every flag reaches a key or a warning") {
  for (const FlagSpec& flag : agent_flags()) {
    CAPTURE(flag.name);
    if (flag.name.starts_with("config-")) continue;
    // No value suits all; what matters is that none is unknown. Names are not looked up.
    const bool address = flag.name == "bind" || flag.name == "advertise";
    const std::string value = flag.value.empty() ? "true" : address ? "127.0.0.1" : "1s";
    const auto config = load_config({{std::string(flag.name), value}}, test_environment());
    if (!config) CHECK(config.error().message.find("unknown") == std::string::npos);
    CHECK_FALSE(flag.help.empty());
    CHECK(nearest_flag(flag.name) == flag.name);
  }
}

TEST_CASE("scalars are taken as strings where strings are wanted") {
  const auto config = OneFile("node_name: 42\ntags: {dc: 1, on: true, pi: 3.10, e: ''}\n").load();
  REQUIRE(config);
  CHECK(config->node_name == "42");
  CHECK(config->tags ==
        std::map<std::string, std::string>{{"dc", "1"}, {"on", "true"}, {"pi", "3.10"}, {"e", ""}});
}

TEST_CASE("lists and maps without a value are empty") {
  const auto config =
      OneFile("event_handlers:\n  # - a.sh\ntags:\nretry_join:\nprotocol_options:\n").load();
  REQUIRE(config);
  CHECK(config->event_handlers.empty());
}

TEST_CASE("a handler may be a map") {
  const auto config = OneFile(
                          "event_handlers:\n  - filter: user:deploy\n    command: d.sh\n"
                          "    timeout: 5s\n    concurrency: 4\n    queue: 100\n    missed: "
                          "latest\n  - command: all.sh\n")
                          .load();
  REQUIRE(config);
  REQUIRE(config->event_handlers.size() == 2);
  const HandlerConfig& handler = config->event_handlers[0];
  CHECK(handler.spec.empty());
  CHECK(handler.filter == "user:deploy");
  CHECK(handler.command == "d.sh");
  CHECK(handler.timeout == seconds(5));
  CHECK(handler.concurrency == 4U);
  CHECK(handler.queue == 100U);
  CHECK(handler.missed == "latest");
  CHECK(config->event_handlers[1].missed.empty());
  CHECK_FALSE(config->event_handlers[1].timeout);
}

TEST_CASE("protocol options go over the profile in whatever order") {
  const auto config = OneFile(
                          "protocol_options: {probe_interval: 2s}\nprofile: wan\n"
                          "reconnect_interval: 7s\nquery_response_size_limit: 2048\n")
                          .load();
  REQUIRE(config);
  CHECK(config->options.probe_interval == seconds(2));
  CHECK(config->options.suspicion_max == membership::Options::wan().suspicion_max);
  CHECK(config->options.reconnect_interval == seconds(7));
  CHECK(config->options.query_response_size_limit == 2048);
}

TEST_CASE("each profile is known by its name") {
  const auto minimum = [](const char* name) {
    const auto config = OneFile("profile: " + std::string(name) + "\n").load();
    REQUIRE(config);
    CHECK(config->profile == name);
    return config->options.suspicion_min;
  };
  CHECK(minimum("lan") == seconds(3));
  CHECK(minimum("wan") == seconds(5));
  CHECK(minimum("local") == seconds(1));
  CHECK(minimum("forgiving") == seconds(6));
}

TEST_CASE("the retry interval has a floor of a second") {
  const auto config = OneFile("retry_interval: 100ms\nbroadcast_timeout: 0\n").load();
  REQUIRE(config);
  CHECK(config->retry_interval == seconds(1));
  CHECK(config->broadcast_timeout == seconds(1));
  CHECK(OneFile("retry_interval: 100ms\n").warnings() ==
        "agent.yaml:1:17: retry_interval: raised from 100ms to its least, 1s\n");
}

TEST_CASE("role sets the tag of that name") {
  const auto config = load_config({{"role", "web"}}, test_environment());
  REQUIRE(config);
  CHECK(config->tags.at("role") == "web");
}

TEST_CASE("the example of Serf's documentation loads") {
  const auto config = OneFile(R"({
  "tags": {
        "role": "load-balancer",
        "datacenter": "east"
  },

  "event_handlers": [
    "handle.sh",
    "user:deploy=deploy.sh"
  ]
}
)")
                          .load();
  REQUIRE(config);
  CHECK(config->tags.at("datacenter") == "east");
  CHECK(config->event_handlers.size() == 2);
}

TEST_CASE("a reload reads the same sources again") {
  const Folder folder;
  const auto file = folder.write("a.yaml", "log_level: INFO\nretry_interval: 5s\n");
  const auto before = load_config({{"config-file", file}, {"tag", "a=b"}, {"encrypt", kTestKey}},
                                  test_environment());
  REQUIRE(before);
  folder.write("a.yaml", "log_level: DEBUG\nretry_interval: 6s\nevent_handlers: [x.sh]\n");
  const auto after = load_config(before->flags, test_environment());
  REQUIRE(after);
  CHECK(after->log_level == LogLevel::kDebug);
  CHECK(after->tags.at("a") == "b");
  CHECK(needs_restart(*before, *after) == std::vector<std::string>{"retry_interval"});
  CHECK(needs_restart(*before, *before).empty());
  folder.write("a.yaml", "log_levle: DEBUG\n");
  CHECK(error_of(load_config(before->flags, test_environment())).find("did you mean") !=
        std::string::npos);
}

TEST_CASE("a changed key needs a restart and is never shown") {
  const auto one = load_config({{"encrypt", kTestKey}}, test_environment());
  const auto two = load_config({{"encrypt", "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
                               test_environment());
  REQUIRE(one);
  REQUIRE(two);
  CHECK(needs_restart(*one, *two) == std::vector<std::string>{"encrypt_key"});
  for (const auto& [key, value] : config_values(*one))
    CHECK(value.find(kTestKey) == std::string::npos);
}

TEST_CASE("a tags file gives the tags") {
  const Folder folder;
  const auto config =
      load_config({{"tags-file", folder.write("t.json", R"({"a": "b"})")}}, test_environment());
  REQUIRE(config);
  CHECK(config->tags == std::map<std::string, std::string>{{"a", "b"}});
  CHECK(load_config({{"tags-file", folder.path("new.json")}}, test_environment()));
  CHECK(error_of(load_config({{"tags-file", folder.write("bad.json", "[1]")}}, test_environment()))
            .find("bad.json:1:1: wants tags like") != std::string::npos);
}

TEST_CASE("a keyring file gives the keys and the first one seals") {
  const Folder folder;
  const std::string other = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  const auto file = folder.write("k.json", "[\"" + other + "\",\n \"" + kTestKey + "\"]\n");
  const auto config = load_config({{"keyring-file", file}}, test_environment());
  REQUIRE(config);
  CHECK(config->keys == std::vector<std::string>{other, kTestKey});
  CHECK(config->bind.to_string() == "0.0.0.0:7946");
  CHECK(error_of(load_config({{"keyring-file", folder.path("none")}}, test_environment()))
            .starts_with("-keyring-file: " + folder.path("none") + ": cannot read"));
  const auto bad = folder.write("bad.json", "[\"" + other + "\",\n \"QUJD\"]\n");
  CHECK(error_of(load_config({{"keyring-file", bad}}, test_environment())) ==
        "-keyring-file: " + bad +
            ":2:2: the cluster key has 3 bytes instead of 32: make one with 'starling keygen'");
  const auto empty = folder.write("empty.json", "[]");
  CHECK_FALSE(load_config({{"keyring-file", empty}}, test_environment()));
}

TEST_CASE("what mDNS is to do comes from Serf's map or from flags") {
  const Folder folder;
  const auto file = folder.write(
      "serf.json", R"({"discover": "db", "mdns": {"interface": "eth1", "disable_ipv6": true}})");
  const auto config = load_config({{"config-file", file}}, test_environment());
  REQUIRE(config);
  CHECK(config->discover == "db");
  CHECK(config->mdns_interface == "eth1");
  CHECK_FALSE(config->mdns_disable_ipv4);
  CHECK(config->mdns_disable_ipv6);
  const auto over = load_config({{"config-file", file},
                                 {"discover", "web"},
                                 {"mdns-iface", "eth0"},
                                 {"mdns-disable-ipv4", "true"},
                                 {"mdns-disable-ipv6", "false"}},
                                test_environment());
  REQUIRE(over);
  CHECK(over->discover == "web");
  CHECK(over->mdns_interface == "eth0");
  CHECK(over->mdns_disable_ipv4);
  CHECK_FALSE(over->mdns_disable_ipv6);
  Environment environment = test_environment();
  environment.interfaces = [] {
    return std::vector<InterfaceAddress>{{"lo", *membership::Address::from_ip("127.0.0.1", 0)}};
  };
  const auto plain = load_config({{"iface", "lo"}}, environment);
  REQUIRE(plain);
  CHECK(plain->mdns_interface == "lo");
}

}  // namespace starling::agent
