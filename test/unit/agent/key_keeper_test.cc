// SPDX-License-Identifier: Apache-2.0
#include "agent/key_keeper.h"

#include <sys/stat.h>

#include <asio.hpp>

#include "agent/config/config.h"
#include "test/catch.h"
#include "test/unit/store/scratch.h"

namespace starling::agent {
namespace {

using control::KeysReply;
using control::KeysRequest;
using Keys = std::vector<std::string>;

struct Fixture {
  Fixture() {
    auto opened = Store::open(io, scratch.path() + "/data");
    REQUIRE(opened);
    store = std::move(*opened);
  }
  KeyKeeper keeper(Keys keys, const std::string& file = {}) {
    return {*store, std::move(keys), file, [this](const Keyring& ring, const Keys& keys_now) {
              CHECK(ring.size() == keys_now.size());
              published = keys_now;
            }};
  }
  static KeysRequest request(KeysRequest::Operation operation, const std::string& key = {}) {
    KeysRequest request;
    request.set_operation(operation);
    request.set_key(key);
    return request;
  }
  Result<KeysReply> ask(KeyKeeper& keys, KeysRequest::Operation operation,
                        const std::string& key = {}) {
    std::optional<Result<KeysReply>> result;
    keys.ask(request(operation, key), [&](Result<KeysReply> reply) { result = std::move(reply); });
    store->flush();
    while (!result) {
      io.restart();
      io.run_for(std::chrono::milliseconds(10));
    }
    return *result;
  }
  Keys list(KeyKeeper& keys) {
    Keys all;
    const auto reply = ask(keys, KeysRequest::LIST);
    REQUIRE(reply);
    for (const auto& key : reply->keys()) all.push_back(key.key());
    return all;
  }

  const Scratch scratch;
  asio::io_context io;
  std::unique_ptr<Store> store;
  Keys published;
  const std::string a = generate_key();
  const std::string b = generate_key();
};

membership::QueryAnswered answer(const std::string& from, const Keys& keys) {
  KeysReply reply;
  for (const std::string& key : keys) reply.add_keys()->set_key(key);
  membership::QueryAnswered answered{};
  answered.from = from;
  answered.kind = membership::ReplyKind::kResponse;
  answered.payload = reply.SerializeAsString();
  return answered;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a key is installed and used and the old one removed") {
  KeyKeeper keys = keeper({a});
  CHECK(ask(keys, KeysRequest::USE, b).error().kind == ErrorKind::kNotFound);
  CHECK(ask(keys, KeysRequest::REMOVE, a).error().kind == ErrorKind::kConflict);
  CHECK(published.empty());
  REQUIRE(ask(keys, KeysRequest::INSTALL, b));
  CHECK(published == Keys{a, b});
  REQUIRE(ask(keys, KeysRequest::USE, b));
  CHECK(published == Keys{b, a});
  REQUIRE(ask(keys, KeysRequest::REMOVE, a));
  CHECK(published == Keys{b});
  CHECK(list(keys) == Keys{b});
}

TEST_CASE_METHOD(Fixture, "what is done already is no error") {
  KeyKeeper keys = keeper({a, b});
  CHECK(ask(keys, KeysRequest::INSTALL, b));
  CHECK(ask(keys, KeysRequest::USE, a));
  CHECK(ask(keys, KeysRequest::REMOVE, generate_key()));
  CHECK(published.empty());
  CHECK(list(keys) == Keys{a, b});
}

TEST_CASE_METHOD(Fixture, "what is no key and one key too many are refused") {
  KeyKeeper keys = keeper({a});
  for (const char* wrong : {"", "x", "AAAA"}) {
    CHECK(ask(keys, KeysRequest::INSTALL, wrong).error().kind == ErrorKind::kInvalid);
  }
  for (size_t i = 1; i < Keyring::kMaxKeys; ++i) {
    CHECK(ask(keys, KeysRequest::INSTALL, generate_key()));
  }
  CHECK(ask(keys, KeysRequest::INSTALL, b).error().kind == ErrorKind::kTooLarge);
  CHECK(list(keys).size() == Keyring::kMaxKeys);
}

TEST_CASE_METHOD(Fixture, "an agent without encryption has nothing to change") {
  KeyKeeper keys = keeper({});
  CHECK(ask(keys, KeysRequest::INSTALL, a).error().message ==
        "No keyring to modify (encryption not enabled)");
  CHECK_FALSE(ask(keys, KeysRequest::LIST));
}

TEST_CASE_METHOD(Fixture, "the keyring file holds what is in use and nobody else reads it") {
  const std::string path = scratch.path() + "/keyring.json";
  KeyKeeper keys = keeper({a}, path);
  const auto installed = ask(keys, KeysRequest::INSTALL, b);
  REQUIRE(installed);
  CHECK(installed->messages_size() == 0);
  REQUIRE(ask(keys, KeysRequest::USE, b));
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(slurp(path) == "[\n  \"" + b + "\",\n  \"" + a + "\"\n]\n");
}

TEST_CASE_METHOD(Fixture, "what cannot be written down is not done") {
  KeyKeeper keys = keeper({a}, scratch.path() + "/no/such/folder/keyring.json");
  CHECK(ask(keys, KeysRequest::INSTALL, b).error().kind == ErrorKind::kUnavailable);
  CHECK(published.empty());
  CHECK(list(keys) == Keys{a});
}

TEST_CASE_METHOD(Fixture, "who has no keyring file is told what a restart will bring") {
  KeyKeeper keys = keeper({a});
  const auto installed = ask(keys, KeysRequest::INSTALL, b);
  REQUIRE(installed);
  REQUIRE(installed->messages_size() == 1);
  CHECK(installed->messages(0).value().find("keyring_file") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "changes are carried out one after the other and not without end") {
  KeyKeeper keys = keeper({a}, scratch.path() + "/keyring.json");
  size_t done = 0;
  size_t refused = 0;
  for (size_t i = 0; i < KeyKeeper::kMaxWaiting + 10; ++i) {
    keys.ask(request(i % 2 == 0 ? KeysRequest::INSTALL : KeysRequest::REMOVE, b),
             [&](const Result<KeysReply>& reply) { ++(reply ? done : refused); });
  }
  CHECK(refused == 9);  // one is under way
  while (done + refused < KeyKeeper::kMaxWaiting + 10) {
    store->flush();
    io.restart();
    io.run_for(std::chrono::milliseconds(10));
  }
  CHECK(refused == 9);
  CHECK(list(keys).size() == 2);
}

TEST_CASE("a change counts when all have done it and those that have not are named") {
  const std::string key = generate_key();
  const auto said = [](const control::Reply& reply) {
    std::map<std::string, std::string> all;
    for (const auto& each : reply.keys().messages()) all[each.key()] = each.value();
    return all;
  };
  SECTION("all") {
    KeyRound round(2, {});
    round.answered(answer("a", {key}));
    round.answered(answer("b", {key, "no key at all"}));
    round.answered(answer("b", {key}));  // once is enough
    const auto reply = round.end({});
    CHECK(reply.error().empty());
    CHECK(reply.keys().members() == 2);
    CHECK(reply.keys().answered() == 2);
    REQUIRE(reply.keys().keys_size() == 1);
    CHECK(reply.keys().keys(0).members() == 2);
  }
  SECTION("one fails") {
    KeyRound round(2, {});
    round.answered(answer("a", {}));
    membership::QueryAnswered failed{};
    failed.from = "b";
    failed.kind = membership::ReplyKind::kFailed;
    failed.error = "disk full";
    round.answered(failed);
    const auto reply = round.end({});
    CHECK(reply.error() == "1/2 nodes reported failure");
    CHECK(said(reply).at("b") == "disk full");
    CHECK(reply.keys().failed() == 1);
  }
  SECTION("one is silent and one has failed long ago") {
    membership::Member lost;
    lost.name = "c";
    lost.status = membership::Status::kFailed;
    KeyRound round(2, {lost});
    round.answered(answer("a", {}));
    const auto reply = round.end({{"b", membership::Silence::kUnheard}});
    CHECK(reply.error() == "1/2 nodes reported success");
    CHECK(said(reply).at("b").find("did not answer") != std::string::npos);
    CHECK(said(reply).at("c").find("has failed") != std::string::npos);
  }
}

}  // namespace starling::agent
