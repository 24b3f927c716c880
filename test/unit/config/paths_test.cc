// SPDX-License-Identifier: Apache-2.0
#include "agent/config/paths.h"

#include "test/catch.h"
#include "test/unit/config/support.h"

namespace starling::agent {

namespace {

Environment root(std::map<std::string, std::string> variables = {}) {
  auto environment = test_environment(std::move(variables));
  environment.uid = 0;
  return environment;
}

}  // namespace

TEST_CASE("root keeps its state in the system's folders") {
  CHECK(default_data_dir(root({{"HOME", "/root"}, {"XDG_STATE_HOME", "/x"}})) ==
        "/var/lib/starling");
  CHECK(default_control_path(root({{"XDG_RUNTIME_DIR", "/x"}})) == "/run/starling/control.sock");
  CHECK(default_control_path(root({{"STARLING_CONTROL", "/c"}})) == "/c");
}

TEST_CASE("others keep their state at home") {
  CHECK(default_data_dir(test_environment()) == "/home/ada/.local/state/starling");
  CHECK(default_data_dir(test_environment({{"HOME", "/h"}, {"XDG_STATE_HOME", "/s"}})) ==
        "/s/starling");
  CHECK(default_data_dir(test_environment({{"HOME", "/h"}, {"XDG_STATE_HOME", "relative"}})) ==
        "/h/.local/state/starling");
  CHECK(default_data_dir(test_environment({{"HOME", ""}})).empty());
  CHECK(default_control_path(
            test_environment({{"HOME", "/h"}, {"XDG_RUNTIME_DIR", "/run/user/7"}})) ==
        "/run/user/7/starling/control.sock");
  CHECK(default_control_path(test_environment()) == "/home/ada/.local/state/starling/control.sock");
  CHECK(default_control_path(test_environment({{"STARLING_CONTROL", "/c"}, {"HOME", "/h"}})) ==
        "/c");
  CHECK(default_control_path(test_environment({})).empty());
}

TEST_CASE("a socket path has a bound") {
  CHECK(check_socket_path(std::string(kMaxSocketPath, 'a')));
  CHECK_FALSE(check_socket_path(std::string(kMaxSocketPath + 1, 'a')));
  CHECK_FALSE(check_socket_path(std::string("a\0b", 3)));
  CHECK(check_socket_path("").error().message ==
        "no place for the control socket: set HOME or STARLING_CONTROL, or give -control");
}

TEST_CASE("the process has an environment") {
  const auto environment = Environment::of_process();
  CHECK_FALSE(environment.hostname.empty());
  CHECK(environment.get("PATH"));
  CHECK_FALSE(environment.get("STARLING_NO_SUCH_VARIABLE"));
  const auto interfaces = environment.interfaces();
  for (const auto& each : interfaces) CHECK_FALSE(each.interface.empty());
}

TEST_CASE("an environment without functions has nothing") {
  CHECK_FALSE(Environment{}.get("PATH"));
}

}  // namespace starling::agent
