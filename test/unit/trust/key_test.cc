// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/key.h"

#include "test/catch.h"

namespace starling::agent {

TEST_CASE("a public key is one line that reads back") {
  const NamedKey named{SigningKey::generate().public_key(), "alice@ops"};
  const auto read = NamedKey::parse("  " + named.line() + "\r\n");
  REQUIRE(read);
  CHECK(*read == named);
  CHECK(named.key.id().size() == 16);
}

TEST_CASE("what is no public key is refused with the reason") {
  const std::string line = NamedKey{SigningKey::generate().public_key(), "alice"}.line();
  const auto refused = [](const std::string& text, const char* reason) {
    CAPTURE(text);
    const auto read = NamedKey::parse(text);
    REQUIRE_FALSE(read);
    CHECK(read.error().message.find(reason) != std::string::npos);
  };
  refused("", "does not begin with");
  refused("ssh-ed25519 AAAA alice", "does not begin with");
  refused("starling-operator 2 AAAA alice", "version");
  refused("starling-operator 1 AAAA alice", "base64 of 32 bytes");
  refused(line + " smith", "5 words");
  refused(line.substr(0, line.rfind(' ')), "3 words");
  refused(line + std::string(1000, 'x'), "too long");
  for (const char* name : {"unsigned", "any", "a/b", "a,b", "\xc3\xa9"}) {
    refused(line.substr(0, line.rfind(' ') + 1) + name, "name has 1 to 64");
  }
}

TEST_CASE("a signature holds under its own key and text only") {
  const SigningKey key = SigningKey::generate();
  const std::string signature = key.sign("deploy");
  CHECK(verify(key.public_key(), "deploy", signature));
  CHECK_FALSE(verify(key.public_key(), "deploy!", signature));
  CHECK_FALSE(verify(SigningKey::generate().public_key(), "deploy", signature));
  CHECK_FALSE(verify(key.public_key(), "deploy", signature.substr(1)));
  CHECK_FALSE(verify(key.public_key(), "deploy", {}));
  CHECK(SigningKey::from_seed(key.seed()).public_key() == key.public_key());
}

}  // namespace starling::agent
