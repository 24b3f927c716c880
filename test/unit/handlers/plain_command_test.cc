// SPDX-License-Identifier: Apache-2.0
//
// What is started without a shell must look as if it had been started by one. Each case runs a
// command both ways: as it is, and with something before it that makes no difference but needs a
// shell.
#include "handlers/plain_command.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "handlers/process.h"
#include "test/catch.h"
#include "test/unit/handlers/process_loop.h"

using namespace std::chrono_literals;
using starling::handlers::plain_command;
using starling::handlers::plain_words;
using starling::handlers::Process;
using starling::handlers::ProcessEnding;
using starling::handlers::ProcessLoop;
using starling::handlers::ProcessRequest;
using starling::handlers::ProcessResult;
using starling::handlers::TempDir;

namespace {

using Words = std::vector<std::string>;

ProcessRequest request_with(Words environment) {
  ProcessRequest request;
  request.environment = std::move(environment);
  request.timeout = 60s;
  return request;
}

struct Bench : ProcessLoop {
  std::string script(const std::string& name, const std::string& text, mode_t mode = 0755) const {
    const std::string path = dir.file(name);
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  ProcessResult run(const std::string& command) {
    ProcessRequest made = request;
    made.arguments = {"/bin/sh", "-c", command};
    made.head_limit = 65'536;
    std::optional<ProcessResult> result;
    std::unique_ptr<Process> process;
    auto started = Process::start(loop, *spawner, made, {}, {}, [&](ProcessResult told) {
      result = std::move(told);
      process->recorded();
    });
    REQUIRE(started);
    process = *std::move(started);
    REQUIRE(until([&] { return result.has_value(); }));
    return *result;
  }
  /// Both ways; the results are equal.
  ProcessResult both(const std::string& command) {
    const ProcessResult by_shell = run("{ " + command + "; }");
    const ProcessResult plain = run(command);
    CHECK(plain.head == by_shell.head);
    CHECK(plain.ending == by_shell.ending);
    CHECK(plain.status == by_shell.status);
    return plain;
  }

  TempDir dir;
  ProcessRequest request = request_with({"PATH=/usr/bin:/bin"});
};

/// The environment that a command prints, in an order of our own: a shell's is of its table.
std::string sorted(const std::string& environment) {
  Words lines;
  std::istringstream text(environment);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  std::ranges::sort(lines);
  std::string joined;
  for (const std::string& line : lines) joined += line + "\n";
  return joined;
}

bool without_shell(const ProcessRequest& request, const std::string& command) {
  starling::job::Order order;
  for (const std::string word : {"/bin/sh", "-c"}) order.add_arguments(word);
  order.add_arguments(command);
  for (const std::string& variable : request.environment) order.add_environment(variable);
  return plain_command(order).has_value();
}

}  // namespace

TEST_CASE("plain words are told from what is a shell's business") {
  CHECK(plain_words("/usr/bin/deploy") == Words{"/usr/bin/deploy"});
  CHECK(plain_words(" \t./deploy  --to=a/b:c,d +1% \t") ==
        Words{"./deploy", "--to=a/b:c,d", "+1%"});
  for (const char* command : {"",
                              "  ",
                              "deploy now",
                              "a=b/c",
                              "A=/x /bin/true",
                              "/bin/echo $HOME",
                              "/bin/echo 'a'",
                              "/bin/echo \"a\"",
                              "/bin/a; /bin/b",
                              "/bin/a & ",
                              "/bin/a | /bin/b",
                              "/bin/a > f",
                              "/bin/a < f",
                              "/bin/echo *",
                              "/bin/echo ?",
                              "/bin/echo [a]",
                              "/bin/echo ~",
                              "~/bin/x",
                              "/bin/echo a#",
                              "/bin/echo #a",
                              "/bin/echo `a`",
                              "/bin/echo \\a",
                              "/bin/a\n/bin/b",
                              "(/bin/a)",
                              "! /bin/a",
                              "{ /bin/a; }",
                              "/bin/echo {a,b}",
                              "/bin/echo ^",
                              "/bin/caf\xc3\xa9",
                              "/bin/echo a\rb"}) {
    INFO(command);
    CHECK_FALSE(plain_words(command));
  }
}

TEST_CASE("a plain command gets its words, input and environment as by a shell") {
  Bench bench;
  const std::string show = bench.script("show", "#!/bin/sh\necho \"$#:$0:$*\"; cat; exit 3\n");
  bench.request.input = "one\ntwo\n";
  const ProcessResult result = bench.both(show + "  -a --b=c/d \t e ");
  CHECK(result.head == "3:" + show + ":-a --b=c/d e\none\ntwo\n");
  CHECK(result.status == 3);
}

TEST_CASE("a plain command's environment is what a shell would hand on") {
  const TempDir elsewhere;
  const std::string there = elsewhere.file("");
  for (const Words& environment :
       {Words{}, Words{"A=1", "EMPTY=", "_=x", "SHLVL=2", "OLDPWD=/x", "PS4=q", "LINENO=3"},
        Words{"A-B=1", "1A=2", "a.b=3", "BASH_FUNC_x%%=() { :; }", "=x", "bare", "\xc3\xa9=1"},
        Words{"PWD=/nonexistent"}, Words{"PWD=relative"}, Words{"PWD="},
        Words{"PWD=" + there + "."}, Words{"IFS=ab"}, Words{"OPTIND=2"}}) {
    for (const std::string& directory : {std::string(), there}) {
      Bench bench;
      bench.request.environment = environment;
      bench.request.setting.directory = directory;
      const std::string by_shell = sorted(bench.run("{ /usr/bin/env; }").head);
      CHECK(sorted(bench.run("/usr/bin/env").head) == by_shell);
    }
  }
}

TEST_CASE("a plain command that was killed is told of as by a shell") {
  Bench bench;
  for (const std::string signal : {"KILL", "TERM", "INT", "PIPE", "HUP"}) {
    const std::string path = bench.script(signal, "#!/bin/sh\necho a\nkill -" + signal + " $$\n");
    const ProcessResult result = bench.both(path);
    CHECK(result.ending == ProcessEnding::kExited);
    CHECK(result.status > 128);
  }
}

TEST_CASE("what cannot be started as it is goes to the shell") {
  Bench bench;
  // No first line that says who runs it: the shell does.
  const std::string bare = bench.script("bare", "echo by a shell \"$@\"\n");
  CHECK(bench.both(bare + " a b").head == "by a shell a b\n");
  const std::string empty = bench.script("empty", "");
  CHECK(bench.both(empty).succeeded());
  // The shell's words and numbers for what is wrong.
  CHECK(bench.both("/nonexistent/command").status == 127);
  CHECK(bench.both(bench.script("plain", "#!/bin/sh\n", 0644)).status == 126);
  CHECK(bench.both(bench.dir.file("")).status == 126);
  const std::string lost = bench.script("lost", "#!/nonexistent/interpreter\n");
  CHECK(bench.both(lost).status == 127);
}

TEST_CASE("a relative path is found from the command's directory") {
  Bench bench;
  bench.script("here", "#!/bin/sh\npwd\n");
  bench.request.setting.directory = bench.dir.file(".");
  CHECK(bench.both("./here").succeeded());
}

TEST_CASE("a plain command is started without a shell where the shell is known") {
  Bench bench;
  std::error_code none;
  const bool known = std::filesystem::canonical("/bin/sh", none).filename() == "dash";
  CHECK(without_shell(bench.request, "/bin/true") == known);
  CHECK_FALSE(without_shell(bench.request, "true"));
  CHECK_FALSE(without_shell(request_with({"IFS=a"}), "/bin/true"));
  const std::string parent =
      bench.script("parent", "#!/bin/sh\nread -r _ name _ < /proc/$PPID/stat; echo $name\n");
  CHECK((bench.run(parent).head == "(sh)\n") != known);
}
