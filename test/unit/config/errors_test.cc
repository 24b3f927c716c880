// SPDX-License-Identifier: Apache-2.0
//
// The text and the place of what users get to read.
#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

std::string flag_error(const std::vector<FlagValue>& flags) {
  return error_of(load_config(flags, test_environment()));
}

}  // namespace

TEST_CASE("an unknown key names its place and the nearest key") {
  CHECK(OneFile("bind: 127.0.0.1\nretry_jion: [a]\n").error() ==
        "agent.yaml:2:1: unknown key 'retry_jion'; did you mean 'retry_join'?");
  CHECK(OneFile("quite_something_else: 1\n").error() ==
        "agent.yaml:1:1: unknown key 'quite_something_else'");
  CHECK(OneFile("join: [a]\n").error() ==
        "agent.yaml:1:1: unknown key 'join'; did you mean 'start_join'?");
  CHECK(OneFile("retry-join: [a]\n").error() ==
        "agent.yaml:1:1: unknown key 'retry-join'; did you mean 'retry_join'?");
  CHECK(OneFile("config-dir: a\n").error() ==
        "agent.yaml:1:1: unknown key 'config-dir' (only a flag, -config-dir)");
}

TEST_CASE("an option in the wrong place is shown the right one") {
  CHECK(OneFile("probe_interval: 1s\n").error() ==
        "agent.yaml:1:1: unknown key 'probe_interval' here; it goes under 'protocol_options'");
  CHECK(OneFile("protocol_options:\n  bind: x\n").error() ==
        "agent.yaml:2:3: unknown key 'bind' under protocol_options; move it to the top");
  CHECK(OneFile("protocol_options:\n  probe_intervall: 1s\n").error() ==
        "agent.yaml:2:3: unknown key 'probe_intervall'; did you mean 'probe_interval'?");
  CHECK(OneFile("event_handlers:\n  - comand: x\n").error() ==
        "agent.yaml:2:5: unknown key 'comand'; did you mean 'command'?");
}

TEST_CASE("what a handler wants of missed events is one of three words") {
  CHECK(OneFile("event_handlers:\n  - command: x\n    missed: some\n").error() ==
        "agent.yaml:3:13: missed: 'some' is not all, latest or none");
}

TEST_CASE("a wrong type names place key and what was there") {
  CHECK(OneFile("insecure: maybe\n").error() ==
        "agent.yaml:1:11: insecure: wants true or false, not 'maybe'");
  CHECK(OneFile("insecure: \"true\"\n").error() ==
        "agent.yaml:1:11: insecure: wants true or false, not the string \"true\"");
  CHECK(OneFile("retry_max_attempts: -1\n").error() ==
        "agent.yaml:1:21: retry_max_attempts: wants a number from 0 to 1000000, not '-1'");
  CHECK(OneFile("handler_concurrency: 0\n").error() ==
        "agent.yaml:1:22: handler_concurrency: wants a number from 1 to 1024, not '0'");
  CHECK(OneFile("retry_join: 10.0.0.1\n").error() ==
        "agent.yaml:1:13: retry_join: wants a list like [10.0.0.1, 10.0.0.2], not '10.0.0.1'");
  CHECK(OneFile("node_name: [a]\n").error() ==
        "agent.yaml:1:12: node_name: wants a string, not a list");
  CHECK(OneFile("node_name:\n").error() ==
        "agent.yaml:1:1: node_name: has no value; write \"\" for an empty one");
  CHECK(OneFile("tags: [a]\n").error() ==
        "agent.yaml:1:7: tags: wants a map like {role: web, dc: east}");
  CHECK(OneFile("tags:\n  a: {b: c}\n").error() ==
        "agent.yaml:2:6: tags: a: wants a string, not a map");
  CHECK(OneFile("event_handlers: a.sh\n").error() ==
        "agent.yaml:1:17: event_handlers: wants a list; start each handler with '- '");
  CHECK(OneFile("- a\n").error() ==
        "agent.yaml:1:1: wants keys with values, like 'bind: 127.0.0.1'");
}

TEST_CASE("a bad value names place key and remedy") {
  CHECK(
      OneFile("retry_interval: 10\n").error() ==
      "agent.yaml:1:17: retry_interval: '10' has no unit: write it like 10s, 1m30s, 500ms or 24h");
  CHECK(OneFile("log_level: LOUD\n").error() ==
        "agent.yaml:1:12: log_level: 'LOUD' is not TRACE, DEBUG, INFO, WARN or ERR");
  CHECK(OneFile("profile: moon\n").error() ==
        "agent.yaml:1:10: profile: 'moon' is not lan, wan, local or forgiving");
  CHECK(OneFile("syslog_facility: LOCAL9\n")
            .error()
            .starts_with("agent.yaml:1:18: syslog_facility: 'LOCAL9' is not a facility"));
  CHECK(OneFile("bind: 127.0.0.1:99999\n")
            .error()
            .starts_with("agent.yaml:1:7: bind: '127.0.0.1:99999' is not an address: the port must "
                         "be 0 to 65535"));
  CHECK(OneFile("retry_join:\n  - ok\n  - 'not ok'\n")
            .error()
            .starts_with("agent.yaml:3:5: retry_join: 'not ok' is not an address"));
  CHECK(OneFile("handler_timeout: 200h\n").error() ==
        "agent.yaml:1:18: handler_timeout: wants 0s to 168h, not '200h'");
  CHECK(OneFile("event_handlers:\n  - command: a\n    timeout: 0s\n").error() ==
        "agent.yaml:3:14: timeout: wants 1ms to 168h, not '0s'");
  CHECK(OneFile("event_handlers:\n  - filter: query\n").error() ==
        "agent.yaml:2:5: event_handlers: a handler without a command");
  CHECK(OneFile("event_handlers: ['']\n").error() ==
        "agent.yaml:1:18: event_handlers: an empty handler; write FILTER=COMMAND");
  CHECK(OneFile("log_file: \"a\\0b\"\n").error() == "agent.yaml:1:11: log_file: holds a NUL byte");
}

TEST_CASE("protocol options out of range are blamed on what was written") {
  CHECK(OneFile("protocol_options:\n  suspicion_min: 40s\n").error() ==
        "agent.yaml:2:18: suspicion_min: option out of range: 0 < suspicion_min <= suspicion_max");
  CHECK(
      OneFile("user_event_size_limit: 2000000\n").error() ==
      "agent.yaml:1:24: user_event_size_limit: option out of range: user_event_size_limit must be "
      "1..1048576 bytes");
  CHECK(OneFile("protocol_options:\n  stream_probes: 3\n").error() ==
        "agent.yaml:2:18: stream_probes: wants true or false, not '3'");
}

TEST_CASE("flags are blamed by their own name") {
  CHECK(flag_error({{"retry-intervall", "3s"}}) ==
        "unknown flag '-retry-intervall'; did you mean '-retry-interval'?");
  CHECK(flag_error({{"start-join", "a"}}) == "unknown flag '-start-join'; did you mean '-join'?");
  CHECK(flag_error({{"frobnicate", "a"}}) == "unknown flag '-frobnicate'");
  CHECK(flag_error({{"retry-interval", "3"}}) ==
        "-retry-interval: '3' has no unit: write it like 10s, 1m30s, 500ms or 24h");
  CHECK(flag_error({{"replay", "perhaps"}}) == "-replay: wants true or false, not 'perhaps'");
  CHECK(flag_error({{"tag", "novalue"}}) == "-tag: 'novalue' is not KEY=VALUE");
  CHECK(flag_error({{"tag", "=x"}}) == "-tag: a tag without a name");
  CHECK(flag_error({{"node", "a\xff"}}) == "-node: not valid UTF-8");
  CHECK(flag_error({{"config-file", "/nonexistent/a.yaml"}}) ==
        "/nonexistent/a.yaml: cannot read: No such file or directory");
  CHECK(flag_error({{"config-dir", "/nonexistent"}}) ==
        "/nonexistent: cannot read: No such file or directory");
  CHECK(flag_error({{"config-file", "/"}}) == "/: cannot read: Is a directory");
}

TEST_CASE("node names are bounded") {
  CHECK(OneFile("node_name: " + std::string(128, 'n') + "\n").load());
  CHECK(OneFile("node_name: " + std::string(129, 'n') + "\n").error() ==
        "agent.yaml:1:12: node_name: has 129 bytes; at most 128 are possible");
  CHECK(OneFile("node_name: \"a\\nb\"\n").error() ==
        "agent.yaml:1:12: node_name: 'a?b' holds control characters or is not UTF-8");
  auto environment = test_environment();
  environment.hostname.clear();
  CHECK(error_of(load_config({}, environment)) ==
        "node_name (the host name): this host has no name; give one with node_name (-node)");
}

TEST_CASE("a cluster key must have 32 bytes") {
  CHECK(OneFile("encrypt_key: AAAAAAAAAAAAAAAAAAAAAA==\n").error() ==
        "agent.yaml:1:14: encrypt_key: the cluster key has 16 bytes; Serf allows that for AES, but "
        "Starling seals with XChaCha20-Poly1305, which needs 32: make one with 'starling keygen'");
  CHECK(flag_error({{"encrypt", "QUJD"}}) ==
        "-encrypt: the cluster key has 3 bytes instead of 32: make one with 'starling keygen'");
  CHECK(flag_error({{"encrypt", "no base64!"}}) ==
        "-encrypt: the cluster key is not base64: make one with 'starling keygen'");
  CHECK(flag_error({{"encrypt", std::string(5000, 'A')}}).find("base64") != std::string::npos);
  const auto good =
      load_config({{"encrypt", std::string(" ") + kTestKey + "\n"}}, test_environment());
  REQUIRE(good);
  CHECK(good->keys == std::vector<std::string>{kTestKey});
}

TEST_CASE("tags have a bound and are not mixed with a tags file") {
  CHECK(OneFile("tags: {k: " + std::string(509, 'v') + "}\n").load());
  CHECK(OneFile("tags: {k: " + std::string(510, 'v') + "}\n").error() ==
        "agent.yaml:1:11: tags: the tags take 513 bytes; at most 512 are possible");
  CHECK(OneFile("tags: {a: b}\ntags_file: t.json\n").error() ==
        "agent.yaml:2:12: tags_file: not together with tags, which are given at agent.yaml:1:11; "
        "keep one of them");
  CHECK(OneFile("tags_file: t.json\n").error({{"tag", "a=b"}}) ==
        "agent.yaml:1:12: tags_file: not together with tags, which are given at -tag; keep one of "
        "them");
}

TEST_CASE("a key and a keyring file are not mixed") {
  CHECK(OneFile("keyring_file: k.json\n").error({{"encrypt", kTestKey}}) ==
        "agent.yaml:1:15: keyring_file: not together with encrypt_key, which is given at -encrypt; "
        "keep one of them");
}

TEST_CASE("a control socket path that is too long is refused with the remedy") {
  const auto at_limit = load_config({{"control", "/" + std::string(106, 'c')}}, test_environment());
  CHECK(at_limit);
  CHECK(flag_error({{"control", "/" + std::string(107, 'c')}})
            .starts_with(
                "-control: the control socket's path has 108 bytes; at most 107 are possible: "
                "give a shorter one with -control: /ccc"));
  CHECK(error_of(load_config({}, test_environment({}))) ==
        "no place for state: set HOME, or give data_dir (-data-dir)");
}

TEST_CASE("keys of Serf without effect are accepted with a warning") {
  CHECK(OneFile("snapshot_path: /tmp/s\n").warnings() ==
        "agent.yaml:1:16: snapshot_path: ignored: Starling keeps its state in data_dir\n");
  for (const char* line : {"enable_compression: true", "disable_name_resolution: true"}) {
    CHECK(OneFile(std::string(line) + "\n").warnings().find(": ignored: ") != std::string::npos);
  }
  CHECK(OneFile("protocol: 5\n").warnings().find("Starling speaks its own protocol") !=
        std::string::npos);
  const auto flags =
      load_config({{"snapshot", "b"}, {"disable-compression", "true"}}, test_environment());
  REQUIRE(flags);
  REQUIRE(flags->warnings.size() == 3);
  CHECK(flags->warnings[0].place == "-snapshot");
}

TEST_CASE("a name to discover is a label of DNS and mDNS wants one protocol at least") {
  CHECK(OneFile("discover: " + std::string(57, 'n') + "\n").error() == "no error");
  CHECK(OneFile("discover: " + std::string(58, 'n') + "\n").error() ==
        "agent.yaml:1:11: discover: has 58 bytes; at most 57 are possible");
  CHECK(OneFile("discover: \"a\\nb\"\n").error() ==
        "agent.yaml:1:11: discover: 'a?b' holds control characters");
  CHECK(OneFile("mdns: {iface: eth0}\n").error().find("unknown key 'iface' under mdns") !=
        std::string::npos);
  CHECK(OneFile("mdns: eth0\n").error().find("mdns: wants a map") != std::string::npos);
  CHECK(OneFile("mdns: {disable_ipv4: 4}\n").error().find("disable_ipv4") != std::string::npos);
  const std::string neither = "mdns: {disable_ipv4: true, disable_ipv6: true}\n";
  CHECK(OneFile(neither).error() == "no error");  // nobody is looked for
  CHECK(
      OneFile("discover: web\n" + neither).error().find("mdns: mDNS over neither IPv4 nor IPv6") !=
      std::string::npos);
}

TEST_CASE("off loopback Serf's RPC needs a token") {
  const std::string refused = OneFile("rpc_addr: 0.0.0.0:7373\n").error();
  CHECK(refused.starts_with("agent.yaml:1:11: rpc_addr: 0.0.0.0:7373 is not a loopback address"));
  CHECK(refused.find("rpc_auth") != std::string::npos);
  CHECK(OneFile("rpc_addr: 0.0.0.0:7373\nrpc_auth: secret\n").error() == "no error");
}

TEST_CASE("validate_node_names is obeyed") {
  CHECK(OneFile("node_name: a_b\n").error() == "no error");
  CHECK(OneFile("node_name: a_b\nvalidate_node_names: true\n").error() ==
        "agent.yaml:1:12: node_name: 'a_b' holds more than letters, digits, '.' and '-', which "
        "validate_node_names forbids");
  CHECK(OneFile("node_name: a-1.x\nvalidate_node_names: true\n").error() == "no error");
}

}  // namespace starling::agent
