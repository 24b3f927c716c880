// SPDX-License-Identifier: Apache-2.0
//
// Writes the seeds of the targets whose input is binary: make_corpus FOLDER, which is
// test/fuzz/corpus in the tree. The same program writes the same files. Inputs that found something
// are beside them, named for what they found.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/control/frame.h"
#include "agent/control/msgpack.h"
#include "proto/control.pb.h"
#include "test/fuzz/file_patch.h"
#include "test/fuzz/message_maker.h"

namespace {

using starling::agent::msgpack::Writer;
using starling::fuzz::Folder;
using starling::fuzz::MessageMaker;
using starling::membership::Random;

class Corpus {
 public:
  explicit Corpus(std::string folder) : folder_(std::move(folder)) {}
  void add(const std::string& target, const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories(folder_ + "/" + target);
    Folder::write(folder_ + "/" + target + "/" + name, bytes);
  }

 private:
  std::string folder_;
};

char byte(size_t value) {
  return static_cast<char>(static_cast<unsigned char>(value));
}

std::string with_length(std::string_view bytes) {
  const size_t size = std::min<size_t>(bytes.size(), 65535);
  return std::string{byte(size >> 8), byte(size)} + std::string(bytes.substr(0, size));
}

/// Steps of fuzz_packet: as many of each kind, real messages in some and seeds in others.
void add_packets(const Corpus& corpus) {
  MessageMaker maker(Random(11), MessageMaker::Claims::kPlausible);
  for (size_t file = 0; file < 12; ++file) {
    std::string steps;
    for (size_t step = 0; step < 6; ++step) {
      const size_t what = (file + step) % 8;
      steps += byte(what | (step % 4) << 6);
      if (what == 0) steps += with_length(maker.packet().substr(0, 1100));
      if (what == 1 || what == 2 || what == 4) {
        for (int i = 0; i < 4; ++i) steps += byte(maker.random().below(256));
      }
      if (what == 3) steps += with_length(maker.stream_message().substr(0, 2000));
    }
    corpus.add("packet", "steps" + std::to_string(file), steps);
  }
}

void add_seals_and_streams(const Corpus& corpus) {
  MessageMaker maker(Random(12), MessageMaker::Claims::kPlausible);
  for (size_t file = 0; file < 4; ++file) {
    corpus.add("seal", "plain" + std::to_string(file), maker.packet().substr(0, 1100));
  }
  // "STRL", version 1, a key's id, a nonce: what a stranger begins with.
  const std::string hello = "STRL\x01" + std::string(8, 'k') + std::string(32, 'n');
  for (size_t portion : {size_t{0}, size_t{128}, size_t{128 + 28}}) {
    const std::string name = std::to_string(portion);
    corpus.add("stream", "stranger" + name, byte(portion) + hello + std::string(40, '\0'));
    corpus.add("stream", "frames" + name, byte(portion | 1) + std::string("\0\0\0\x14", 4) + hello);
    corpus.add("stream", "member" + name,
               byte(portion | 2) + maker.stream_message().substr(0, 999));
  }
}

/// Serf's commands with the bodies that clients send.
std::string request(std::string_view command, uint64_t seq, const std::string& body) {
  return Writer().map(2).text("Command").text(command).text("Seq").number(seq).take() + body;
}

void add_rpc(const Corpus& corpus) {
  const std::string hello =
      request("handshake", 0, Writer().map(1).text("Version").number(1).take());
  const std::string auth = request("auth", 1, Writer().map(1).text("AuthKey").text("t").take());
  const std::vector<std::pair<std::string, std::string>> bodies = {
      {"event", Writer()
                    .map(3)
                    .text("Name")
                    .text("deploy")
                    .text("Payload")
                    .bytes("v1")
                    .text("Coalesce")
                    .boolean(true)
                    .take()},
      {"force-leave", Writer().map(2).text("Node").text("a").text("Prune").boolean(true).take()},
      {"join", Writer()
                   .map(2)
                   .text("Existing")
                   .array(1)
                   .text("10.0.0.1")
                   .text("Replay")
                   .boolean(false)
                   .take()},
      {"members", ""},
      {"members-filtered", Writer()
                               .map(3)
                               .text("Tags")
                               .map(1)
                               .text("role")
                               .text("w.*")
                               .text("Status")
                               .text("alive")
                               .text("Name")
                               .text("a")
                               .take()},
      {"tags", Writer()
                   .map(2)
                   .text("Tags")
                   .map(1)
                   .text("a")
                   .text("b")
                   .text("DeleteTags")
                   .array(1)
                   .text("c")
                   .take()},
      {"stream", Writer().map(1).text("Type").text("user:deploy,query").take()},
      {"monitor", Writer().map(1).text("LogLevel").text("DEBUG").take()},
      {"stop", Writer().map(1).text("Stop").number(3).take()},
      {"leave", ""},
      {"query", Writer()
                    .map(5)
                    .text("FilterNodes")
                    .array(1)
                    .text("a")
                    .text("FilterTags")
                    .map(1)
                    .text("role")
                    .text("w.*")
                    .text("RequestAck")
                    .boolean(true)
                    .text("Timeout")
                    .number(1'000'000'000)
                    .text("Name")
                    .text("load")
                    .take()},
      {"respond", Writer().map(2).text("ID").number(1).text("Payload").bytes("x").take()},
      {"install-key", Writer().map(1).text("Key").text("AAAA").take()},
      {"list-keys", ""},
      {"stats", ""},
      {"get-coordinate", Writer().map(1).text("Node").text("a").take()},
  };
  std::string all;
  for (const auto& [command, body] : bodies) {
    const std::string bytes = request(command, 7, body);
    all += bytes;
    corpus.add("rpc", "serf-" + command, byte(0) + hello + bytes);
  }
  corpus.add("rpc", "serf-all", byte(0) + hello + auth + all);
  corpus.add("rpc", "serf-portions", byte(128 + 6) + hello + auth + all);
  std::string answers;
  for (uint64_t seq = 0; seq < 10; ++seq) {
    answers += Writer().map(2).text("Seq").number(seq).text("Error").text("").take();
    answers += Writer()
                   .map(2)
                   .text("Members")
                   .array(1)
                   .map(2)
                   .text("Name")
                   .text("a")
                   .text("Addr")
                   .bytes(std::string(16, '\x7f'))
                   .text("Keys")
                   .map(1)
                   .text("k")
                   .number(1)
                   .take();
  }
  corpus.add("rpc", "client-answers", byte(64) + answers);
  starling::control::Request asked;
  asked.set_id(1);
  asked.mutable_query()->set_name("load");
  corpus.add("rpc", "control-query", byte(96) + *starling::agent::encode_frame(asked));
  asked.mutable_event()->set_name("deploy");
  corpus.add("rpc", "control-event", byte(96) + *starling::agent::encode_frame(asked));
}

std::string patch(size_t at, std::string_view bytes) {
  return std::string{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at), byte(bytes.size())} +
         std::string(bytes);
}

void add_files(const Corpus& corpus) {
  corpus.add("store", "whole", std::string("\0", 1));
  corpus.add("store", "header", std::string("\0", 1) + patch(16, "\x01\x02"));
  corpus.add("store", "version", std::string("\0", 1) + patch(60, "\xff\xff\xff\xff"));
  corpus.add("store", "schema", std::string("\0", 1) + patch(100, "\x05\0\0\0\x01"));
  corpus.add("store", "page", std::string("\0", 1) + patch(4096, std::string(64, '\xff')));
  corpus.add("store", "cut", std::string("\0", 1) + patch(5000, ""));
  corpus.add("store", "key", "\x01starling-node-key-v1 " + std::string(64, 'a') + "\n");
  corpus.add("store", "epoch", std::string("\x02") + "1700000005\n");
  corpus.add("job_log", "whole", "");
  for (const size_t at : std::to_array<size_t>({0, 8, 16, 64, 128, 256, 512, 1024, 1400})) {
    corpus.add("job_log", "at" + std::to_string(at), patch(at, "\xff\xff\xff\xff\xff\xff\xff\x7f"));
    corpus.add("job_log", "cut" + std::to_string(at), patch(at, ""));
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fputs("usage: make_corpus FOLDER\n", stderr);
    return 2;
  }
  starling::fuzz::silence_protobuf();
  const Corpus corpus(arguments[1]);
  add_packets(corpus);
  add_seals_and_streams(corpus);
  add_rpc(corpus);
  add_files(corpus);
  return 0;
}
