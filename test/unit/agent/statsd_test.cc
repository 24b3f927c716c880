// SPDX-License-Identifier: Apache-2.0
#include "agent/statsd.h"

#include <asio.hpp>

#include "agent/control/info_section.h"
#include "test/catch.h"
#include "test/unit/agent/host.h"

namespace starling::agent {
namespace {

using Lines = std::vector<std::string>;

control::InfoReply info(uint64_t sent, uint64_t members) {
  control::InfoReply reply;
  Section agent(reply, "agent");
  agent.add("name", "web1");
  agent.add("boot_epoch", 7);
  Section network(reply, "network");
  network.add("packets_sent", sent);
  network.add("streams_now", 3);
  Section serf(reply, "serf");
  serf.add("members", members);
  serf.add("encrypted", "true");
  return reply;
}

}  // namespace

TEST_CASE("what grows is told by how much and what goes up and down as it is") {
  StatsdLines lines("web1.example.com");
  const std::string prefix = "serf-agent.web1_example_com.";
  CHECK(lines.update(info(10, 3)) == Lines{prefix + "network.packets_sent:10|c",
                                           prefix + "network.streams_now:3|g",
                                           prefix + "serf.members:3|g"});
  CHECK(lines.update(info(15, 2)) == Lines{prefix + "network.packets_sent:5|c",
                                           prefix + "network.streams_now:3|g",
                                           prefix + "serf.members:2|g"});
  CHECK(lines.update(info(15, 2)).size() == 2);
}

TEST_CASE("a server hears every so often and a missing one harms nobody") {
  asio::io_context io;
  const Host host(io, "a");
  asio::ip::udp::socket server(io, {asio::ip::make_address("127.0.0.1"), 0});
  const std::string port = std::to_string(server.local_endpoint().port());
  uint64_t asked = 0;
  Statsd::Options options;
  options.servers = {"127.0.0.1:1", "127.0.0.1:" + port};
  options.host = "a";
  options.interval = std::chrono::milliseconds(5);
  const Statsd statsd(io, *host.log, options, [&] {
    control::InfoReply reply = info(++asked, 1);
    Section drops(reply, "drops");
    for (int i = 0; i < 100; ++i) drops.add("thing." + std::to_string(i), asked);
    return reply;
  });
  std::string heard;
  std::array<char, 2048> buffer = {};
  server.non_blocking(true);
  turn_until(io, [&] {
    asio::error_code error;
    while (true) {
      const size_t size = server.receive(asio::buffer(buffer), 0, error);
      if (error) break;
      CHECK(size <= Statsd::kDatagram);
      heard.append(buffer.data(), size);
    }
    return asked > 3 && heard.find("serf-agent.a.drops.thing.99:1|c\n") != std::string::npos;
  });
  CHECK(heard.find("serf-agent.a.serf.members:1|g\n") != std::string::npos);
}

}  // namespace starling::agent
