// SPDX-License-Identifier: Apache-2.0
//
// Throws malformed requests of Serf's RPC at the door for Serf's clients, in this process: half of
// the rounds with a token that the storm does not have, half without. See --help. Made to be run
// under sanitizers as well.
//
// What must hold: the process lives, its memory does not grow, every connection that is closed is
// reported closed, and with a token no request reaches the service.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/control/msgpack.h"
#include "agent/control/serf_codec.h"
#include "agent/control/serf_server.h"
#include "membership/random.h"

namespace {

using namespace starling;
using namespace starling::agent;
using membership::Random;
using msgpack::Writer;

constexpr std::string_view kUsage =
    "usage: rpc_storm [--frames N] [--seed S] [--dir FOLDER]\n"
    "\n"
    "Sends N mutated requests of Serf's RPC (default 1000000), half of them to a door with a "
    "token.\n"
    "The same seed sends the same bytes. Status 1, and a sentence, when a rule is broken.\n";

constexpr std::string_view kToken = "the storm does not know this";
constexpr uint64_t kFramesOfConnection = 200;
constexpr size_t kClients = 8;
// Allocators keep some; what leaks grows with the frames, and passes this soon.
#if __has_feature(address_sanitizer)
constexpr uint64_t kMayGrow_KiB = 1024 * 1024;  // it keeps what was freed, 256 MB for each thread
#else
constexpr uint64_t kMayGrow_KiB = 64 * 1024;
#endif

constexpr std::string_view kCommands[] = {
    "handshake", "auth",           "event",           "force-leave", "join",        "members",
    "stats",     "tags",           "stream",          "monitor",     "stop",        "leave",
    "query",     "respond",        "use-key",         "nothing",     "install-key", "remove-key",
    "list-keys", "handshake",      "handshake",       "stream",      "query",       "monitor",
    "stop",      "get-coordinate", "members-filtered"};

constexpr std::string_view kFields[] = {
    "Command", "Seq",         "Version", "AuthKey",     "Name",       "Payload",    "Coalesce",
    "Node",    "Prune",       "Tags",    "Existing",    "Replay",     "Status",     "DeleteTags",
    "Type",    "LogLevel",    "Stop",    "FilterNodes", "FilterTags", "RequestAck", "Timeout",
    "ID",      "RelayFactor", "Key",     "Error"};

/// Answers whatever comes, at once or later, as a service may.
class Service : public RequestHandler {
 public:
  explicit Service(Random random) : random_(random) {}

  void handle(const std::shared_ptr<Session>& session, const control::Request& request) override {
    ++handled_;
    control::Reply reply;
    reply.set_id(request.id());
    if (random_.below(8) == 0) reply.set_error("no");
    if (request.has_stop()) {
      streams_.erase({session.get(), request.stop().monitor()});
    }
    const bool stream = request.has_monitor() || request.has_query();
    if (stream && reply.error().empty()) {
      streams_[{session.get(), request.id()}] = {session, request.has_query()};
      if (request.has_query()) reply.mutable_query_started();
      if (request.has_monitor()) reply.mutable_monitor_started();
    } else {
      reply.set_done(true);
    }
    session->send(reply);
  }

  void session_closed(const std::shared_ptr<Session>& session) override {
    ++closed_;
    streams_.erase(streams_.lower_bound({session.get(), 0}),
                   streams_.upper_bound({session.get(), UINT64_MAX}));
  }

  /// Something happens, and everybody who watches hears of it.
  void happen() {
    for (auto each = streams_.begin(); each != streams_.end();) {
      control::Reply reply;
      reply.set_id(each->first.second);
      const bool over = each->second.query && random_.below(4) == 0;
      if (over) {
        reply.mutable_query_done();
        reply.set_done(true);
      } else if (each->second.query) {
        reply.mutable_query_answer()->set_from("a");
      } else {
        reply.mutable_monitor()->set_event("user");
        reply.mutable_monitor()->set_payload(std::string(random_.below(5000), 'x'));
      }
      each->second.session->send(reply);
      each = over ? streams_.erase(each) : std::next(each);
    }
  }

  [[nodiscard]] uint64_t handled() const { return handled_; }
  [[nodiscard]] uint64_t closed() const { return closed_; }

 private:
  struct Stream {
    std::shared_ptr<Session> session;
    bool query = false;
  };
  Random random_;
  std::map<std::pair<const Session*, uint64_t>, Stream> streams_;
  uint64_t handled_ = 0;
  uint64_t closed_ = 0;
};

/// Requests, most of them nearly right.
class Maker {
 public:
  explicit Maker(Random random) : random_(random) {}

  std::string request() {
    Writer out;
    const std::string_view command = kCommands[below(std::size(kCommands))];
    out.map(2).text("Command").text(command).text("Seq").number(below(20));
    const auto known = serf::parse_command(command);
    std::string bytes = out.take();
    if (!known || serf::request_has_body(*known)) bytes += body(command);
    if (below(4) == 0) damage(bytes);
    return bytes;
  }

  static std::string handshake() {
    return Writer()
        .map(2)
        .text("Command")
        .text("handshake")
        .text("Seq")
        .number(0)
        .map(1)
        .text("Version")
        .number(1)
        .take();
  }

  size_t below(size_t bound) { return random_.below(bound); }

 private:
  std::string body(std::string_view command) {
    if (command == "handshake" && below(2) == 0) {
      return Writer().map(1).text("Version").number(1).take();
    }
    const size_t fields = below(6);
    Writer out;
    out.map(fields);
    for (size_t i = 0; i < fields; ++i) {
      out.text(kFields[below(std::size(kFields))]);
      value(out, 0);
    }
    return out.take();
  }

  void value(Writer& out, int depth) {
    switch (below(depth < 4 ? 8 : 5)) {
      case 0:
        out.nil();
        return;
      case 1:
        out.number(uint64_t{1} << below(64));
        return;
      case 2:
        out.signed_number(-static_cast<int64_t>(uint64_t{1} << below(63)));
        return;
      case 3:
        out.boolean(below(2) == 0);
        return;
      case 4:
        out.text(std::string(below(below(10) == 0 ? 70000 : 20), 'x'));
        return;
      case 5:
        out.bytes(std::string(below(300), '\xff'));
        return;
      case 6: {
        const size_t size = below(5);
        out.array(size);
        for (size_t i = 0; i < size; ++i) value(out, depth + 1);
        return;
      }
      default: {
        const size_t size = below(5);
        out.map(size);
        for (size_t i = 0; i < 2 * size; ++i) value(out, depth + 1);
      }
    }
  }

  void damage(std::string& bytes) {
    for (size_t times = 1 + below(3); times > 0 && !bytes.empty(); --times) {
      const size_t at = below(bytes.size());
      switch (below(5)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes.erase(at, 1 + below(8));
          break;
        case 2:
          bytes.insert(at, bytes.substr(0, below(40)));
          break;
        case 3:  // announces more than there is
          bytes[at] = static_cast<char>(0xc4 + below(0x1c));
          break;
        default:
          bytes.resize(at);
      }
    }
  }

  Random random_;
};

/// One side of a connection to the door; never waits.
class Client {
 public:
  explicit Client(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    ::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name);
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// False: the door has closed.
  bool send(std::string_view bytes) const {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
  }
  void drain() const {
    char buffer[65536];
    while (::recv(fd_, buffer, sizeof buffer, 0) > 0) {
    }
  }

 private:
  int fd_;
};

uint64_t memory_KiB() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  }
  return 0;
}

struct Outcome {
  uint64_t frames = 0;
  uint64_t connections = 0;
  uint64_t handled = 0;
  SerfServerCounters counters;
  std::string broken;  ///< which rule, if one is
};

/// `frames` requests to one door.
class Round {
 public:
  Round(const std::string& path, bool token, uint64_t seed, uint64_t frames)
      : path_(path), frames_(frames), maker_(Random(seed)), service_(Random(seed + 1)) {
    LogOptions quiet;
    quiet.to_stderr = false;
    log_ = std::move(*Log::open(quiet));
    SerfServerOptions options;
    options.path = path;
    if (token) options.auth = kToken;
    token_ = token;
    server_ = std::make_unique<SerfServer>(io_, options, service_, *log_);
  }

  Outcome run() {
    Outcome result;
    if (auto listening = server_->listen(); !listening) {
      result.broken = listening.error().message;
      return result;
    }
    clients_.resize(kClients);
    left_.resize(kClients);
    uint64_t start_KiB = 0;
    for (uint64_t frame = 0; frame < frames_; ++frame) {
      send_one(result);
      if (maker_.below(4) == 0) io_.poll();
      if (maker_.below(64) == 0) service_.happen();
      // The first tenth fills what is kept on purpose.
      if (frame == frames_ / 10) start_KiB = memory_KiB();
    }
    clients_.clear();
    io_.run_for(std::chrono::milliseconds(100));
    const uint64_t end_KiB = memory_KiB();
    const size_t open = server_->connections();
    server_->close();
    io_.restart();
    io_.poll();
    result.frames = frames_;
    result.handled = service_.handled();
    result.counters = server_->counters();
    if (open > 0) result.broken = std::to_string(open) + " connections outlive their clients";
    if (service_.closed() != result.counters.accepted) {
      result.broken = "sessions closed: " + std::to_string(service_.closed()) + " of " +
                      std::to_string(result.counters.accepted);
    }
    if (token_ && result.handled > 0)
      result.broken = "requests reached the service without a token";
    if (end_KiB > start_KiB + kMayGrow_KiB) {
      result.broken = "memory grew from " + std::to_string(start_KiB) + " to " +
                      std::to_string(end_KiB) + " KiB";
    }
    return result;
  }

 private:
  void send_one(Outcome& result) {
    const size_t which = maker_.below(kClients);
    auto& client = clients_[which];
    if (!client || left_[which] == 0) {
      client = std::make_unique<Client>(path_);
      left_[which] = 1 + maker_.below(kFramesOfConnection);
      ++result.connections;
      io_.poll();
      if (maker_.below(10) != 0) client->send(Maker::handshake());
    }
    --left_[which];
    if (!client->send(maker_.request())) client.reset();
    if (client && maker_.below(8) == 0) client->drain();
  }

  const std::string path_;
  const uint64_t frames_;
  bool token_ = false;
  Maker maker_;
  Service service_;
  asio::io_context io_{1};
  std::unique_ptr<Log> log_;
  std::unique_ptr<SerfServer> server_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<uint64_t> left_;
};

bool parse_number(std::string_view text, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t frames = 1'000'000;
  uint64_t seed = 1;
  std::string folder = std::filesystem::temp_directory_path();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
    const bool good = name == "--frames" ? parse_number(value, frames)
                      : name == "--seed" ? parse_number(value, seed)
                                         : name == "--dir" && !value.empty();
    if (!good) {
      std::fputs(kUsage.data(), name == "--help" ? stdout : stderr);
      return name == "--help" ? 0 : 1;
    }
    if (name == "--dir") folder = value;
  }
  const std::string path = folder + "/rpc-storm-" + std::to_string(::getpid()) + ".sock";
  for (const bool token : {true, false}) {
    const Outcome result = Round(path, token, seed, frames / 2).run();
    std::printf(
        "%s a token: %llu frames on %llu connections, %llu requests carried out, %llu malformed, "
        "%llu wrong tokens, %llu too slow\n",
        token ? "with" : "without", static_cast<unsigned long long>(result.frames),
        static_cast<unsigned long long>(result.connections),
        static_cast<unsigned long long>(result.handled),
        static_cast<unsigned long long>(result.counters.malformed),
        static_cast<unsigned long long>(result.counters.denied),
        static_cast<unsigned long long>(result.counters.closed_slow));
    if (result.broken.empty()) continue;
    std::fprintf(stderr, "rpc_storm: %s\n", result.broken.c_str());
    return 1;
  }
  return 0;
}
