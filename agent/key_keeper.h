// SPDX-License-Identifier: Apache-2.0
//
// KeyKeeper: the cluster keys of this agent while it runs, and the keyring file in which they
// survive. A change is written down before it takes effect, so that a crash at any moment leaves an
// agent that its cluster can talk to. One change after the other.
//
// Also puts together what members say when all of them are asked to change their keys (KeyRound).
//
// Event-loop thread only; the file is written on the store's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/net/keyring.h"
#include "agent/store/store.h"
#include "membership/action.h"
#include "membership/member.h"
#include "proto/control.pb.h"
#include "proto/support/result.h"

namespace starling::agent {

/// Asks members to change or list their keys; the payload is a control::KeysRequest, the answer a
/// control::KeysReply. Agents answer it themselves; no handler sees it.
inline constexpr std::string_view kKeysQuery = "_starling_keys";

class KeyKeeper {
 public:
  static constexpr size_t kMaxWaiting = 64;

  /// Puts the keys to use; `keys` in base64, the primary first.
  using Publish = std::function<void(const Keyring& ring, const std::vector<std::string>& keys)>;
  using Done = std::function<void(Result<control::KeysReply>)>;

  /// `store` outlives it. `keys`: valid (Keyring::from_base64), or none for an agent without
  /// encryption, which has nothing to change. `file`: keyring file, may be empty.
  KeyKeeper(Store& store, std::vector<std::string> keys, std::string file, Publish publish);

  /// Carries out one request; `done` when it has taken effect, from the loop or at once. Doing
  /// again what was done is no error. kNotFound: to use a key that is not there; kConflict: to
  /// remove the primary key; kTooLarge: more than Keyring::kMaxKeys; kBusy; kInvalid; kUnavailable:
  /// the file cannot be written, and nothing has changed.
  void ask(const control::KeysRequest& request, Done done);

  /// kInvalid says what is wrong with a key.
  static Result<void> check(const std::string& key);

 private:
  struct Waiting {
    control::KeysRequest request;
    Done done;
  };
  void next();
  void carry_out(Waiting waiting);
  void finish(const Waiting& waiting, const SecretTexts& keys);
  [[nodiscard]] Result<SecretTexts> changed(const control::KeysRequest& request) const;
  [[nodiscard]] control::KeysReply reply(bool list) const;

  Store& store_;
  Keyring ring_;
  const std::string file_;
  Publish publish_;
  std::deque<Waiting> waiting_;
  bool busy_ = false;
  // Callbacks of the store hold a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// The answers of all members to one request.
class KeyRound {
 public:
  /// `members`: all that are known, to say which of them could not be asked.
  KeyRound(size_t addressed, const std::vector<membership::Member>& members);

  void answered(const membership::QueryAnswered& answered);
  /// `silent`: who was asked and has not answered. The result, with an error unless everybody that
  /// was asked has done it; its messages name those who have not, and who needs a look. Once.
  control::Reply end(const std::vector<membership::SilentMember>& silent);

 private:
  void say(const std::string& member, const std::string& what);

  const size_t addressed_;
  size_t failed_ = 0;
  control::KeysReply told_;
  std::set<std::string> heard_;
  std::map<std::string, uint32_t> holders_;  // by key
};

}  // namespace starling::agent
