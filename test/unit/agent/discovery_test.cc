// SPDX-License-Identifier: Apache-2.0
#include "agent/discovery.h"

#include <asio.hpp>
#include <filesystem>
#include <fstream>

#include "test/catch.h"
#include "test/unit/agent/host.h"

namespace starling::agent {
namespace {

using std::chrono::milliseconds;

/// A host whose starling-discover is a shell script.
class Finder {
 public:
  Finder(asio::io_context& io, const std::string& name) : host(io, name), watch_(follow()) {
    host.run();
  }

  /// `script` is run with the arguments that the program gets, in a folder of its own.
  void start(asio::io_context& io, const std::string& script) {
    DiscoveryOptions options;
    options.program = host.scratch.path() + "/discover";
    options.cluster = "web";
    options.ipv6 = false;
    options.quiet = milliseconds(1);
    options.settle = milliseconds(5);
    options.retry = milliseconds(5);
    options.check = milliseconds(20);
    std::ofstream(options.program) << "#!/bin/sh\ncd " << host.scratch.path() << "\n" << script;
    std::filesystem::permissions(options.program, std::filesystem::perms::owner_all);
    discovery = std::make_unique<Discovery>(io, *host.cluster, *host.log, std::move(options));
    discovery->start();
  }

  [[nodiscard]] std::string address() const {
    return host.cluster->node().identity().address.to_string();
  }
  [[nodiscard]] size_t count(const std::string& text) const {
    size_t found = 0;
    for (const std::string& line : lines) found += line.find(text) != std::string::npos ? 1 : 0;
    return found;
  }
  [[nodiscard]] size_t members() const { return host.cluster->node().members().size(); }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(host.scratch.path() + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Host host;
  std::vector<std::string> lines;
  std::unique_ptr<Discovery> discovery;

 private:
  std::unique_ptr<Log::Watch> follow() {
    return host.log->watch(LogLevel::kDebug,
                           [this](const std::string& line) { lines.push_back(line); });
  }
  std::unique_ptr<Log::Watch> watch_;
};

}  // namespace

TEST_CASE("those who are announced are joined and this agent itself is not") {
  asio::io_context io;
  Finder a(io, "a");
  Finder b(io, "b");
  Finder c(io, "c");
  a.start(io, "echo announced\necho found " + a.address() + "\necho found " + b.address() +
                  "\necho \"$@\" >arguments\nexec cat\n");
  turn_until(io, [&] { return a.members() == 2 && a.count("joined 1 agent found by mDNS") == 1; });
  CHECK(a.count("found " + a.address()) == 1);
  CHECK(a.count("cannot join") == 0);
  CHECK(a.count("announced by mDNS to those that discover 'web'") == 1);
  const std::string port = std::to_string(a.host.cluster->node().identity().address.port());
  const std::string id = a.host.cluster->node().identity().id.to_string().substr(0, 16);
  CHECK(a.read("arguments") == "web a starling-" + id + " 127.0.0.1 " + port + " ipv4 \n");
}

TEST_CASE("who appears later is joined then") {
  asio::io_context io;
  Finder a(io, "a");
  Finder b(io, "b");
  a.start(io, "echo announced; while ! test -e go; do sleep 0.01; done; echo found " + b.address() +
                  "; exec cat\n");
  turn_until(io, [&] { return a.count("announced by mDNS") == 1; });
  CHECK(a.members() == 1);
  std::ofstream(a.host.scratch.path() + "/go") << "go";
  turn_until(io, [&] { return a.members() == 2; });
}

TEST_CASE("who cannot be joined is tried again until he is lost") {
  asio::io_context io;
  Finder a(io, "a");
  a.start(io,
          "echo announced; echo found 127.0.0.1:1; while ! test -e go; do sleep 0.01; done; echo "
          "lost 127.0.0.1:1; echo trouble over; exec cat\n");
  turn_until(io, [&] { return a.count("cannot join 127.0.0.1:1, found by mDNS") > 3; });
  CHECK(a.count("[WARN] discover: cannot join") == 1);  // the others are for those who look closely
  std::ofstream(a.host.scratch.path() + "/go") << "go";
  turn_until(io, [&] { return a.count("over: nobody is found") == 1; });
  io.restart();
  io.run_for(milliseconds(100));  // the last attempt may have been under way
  const size_t tried = a.count("cannot join");
  io.run_for(milliseconds(200));
  CHECK(a.count("cannot join") == tried);
}

TEST_CASE("a program that ends is started again and the same trouble told once") {
  asio::io_context io;
  Finder a(io, "a");
  a.start(io,
          "echo >>starts; if test -e works; then echo announced; exec cat; fi\n"
          "echo trouble the Avahi daemon does not run; exit 1\n");
  turn_until(io, [&] { return a.read("starts").size() > 3; });
  CHECK(a.count("the Avahi daemon does not run: nobody is found by mDNS") == 1);
  std::ofstream(a.host.scratch.path() + "/works") << "";
  turn_until(io, [&] { return a.count("again announced by mDNS") == 1; });
}

TEST_CASE("a missing or senseless program harms nobody") {
  asio::io_context io;
  Finder a(io, "a");
  a.start(io,
          "head -c 100000 /dev/zero | tr '\\0' x; echo; echo found nonsense; echo found; echo "
          "lost; printf 'found 127.0.0.1:2\\001\\n'; echo lost 127.0.0.1:9; echo announced; "
          "for i in $(seq 1500); do echo found 10.0.$((i / 250)).$((i % 250)):7946; done\n"
          "exec cat\n");
  turn_until(io, [&] { return a.discovery->dropped() == 1500 - Discovery::kMaxFound; });
  CHECK(a.count("the others are left out") == 1);
  a.discovery->stop();
  DiscoveryOptions options;
  options.program = a.host.scratch.path() + "/none";
  options.retry = milliseconds(1);
  Discovery none(io, *a.host.cluster, *a.host.log, options);
  none.start();
  turn_until(io, [&] { return a.count("cannot start " + options.program) == 1; });
  io.restart();
  io.run_for(milliseconds(20));
  CHECK(a.count("cannot start") == 1);
}

}  // namespace starling::agent
