// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <fstream>

#include "agent/cli/commands.h"
#include "test/catch.h"
#include "test/unit/cli/command_line.h"
#include "test/unit/control/fake_agent.h"

namespace starling::agent::test {

TEST_CASE("a completion script names every command and flag") {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    CAPTURE(shell);
    const Outcome outcome = run({"completion", shell}, "");
    CHECK(outcome.status == 0);
    for (const Command* command : all_commands()) {
      CHECK(outcome.out.find(command->name) != std::string::npos);
      for (const FlagSpec& flag : command->flags) {
        CHECK(outcome.out.find(flag.name) != std::string::npos);
      }
    }
  }
  CHECK(run({"completion"}, "").status == 1);
  CHECK(run({"completion", "tcsh"}, "").status == 1);
}

TEST_CASE("bash completes commands and flags with the script") {
  const TemporaryDirectory folder;
  const std::string script = folder.path() + "/starling.bash";
  std::ofstream(script) << run({"completion", "bash"}, "").out;
  const auto complete = [&](const std::string& words, int at) {
    const std::string command = "bash -c 'source " + script + "; COMP_WORDS=(" + words +
                                "); COMP_CWORD=" + std::to_string(at) +
                                "; _starling; echo ${COMPREPLY[*]}'";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::array<char, 4096> text{};
    const size_t size = std::fread(text.data(), 1, text.size(), pipe);
    CHECK(::pclose(pipe) == 0);
    return std::string(text.data(), size);
  };
  CHECK(complete("starling mem", 1) == "members\n");
  CHECK(complete("starling members -deta", 2) == "-detailed\n");
  CHECK(complete("starling reach", 1) == "reachability\n");
}

}  // namespace starling::agent::test
