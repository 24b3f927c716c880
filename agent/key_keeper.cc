// SPDX-License-Identifier: Apache-2.0
#include "agent/key_keeper.h"

#include <algorithm>
#include <utility>

#include "agent/store/file.h"
#include "proto/support/assert.h"

namespace starling::agent {

using control::KeysReply;
using control::KeysRequest;

namespace {

Result<void> write_keyring(const std::string& path, const std::vector<std::string>& keys) {
  constexpr size_t kMost = 512;  // kMaxKeys of 44 characters: the text stays in its place
  std::string text;
  text.reserve(kMost);
  for (const std::string& key : keys) {  // base64 has nothing that JSON would have to escape
    text.append(text.empty() ? "[\n  \"" : ",\n  \"").append(key).append("\"");
  }
  text.append("\n]\n");
  auto written = write_file(path, text);
  wipe(text);
  return written;
}

}  // namespace

KeyKeeper::KeyKeeper(Store& store, std::vector<std::string> keys, std::string file, Publish publish)
    : store_(store),
      ring_(Keyring::insecure()),
      file_(std::move(file)),
      publish_(std::move(publish)) {
  const SecretTexts texts(std::move(keys));
  if (texts.get().empty()) return;
  auto ring = Keyring::from_base64(texts.get());
  STARLING_ASSERT(ring.has_value());
  ring_ = std::move(*ring);
}

Result<void> KeyKeeper::check(const std::string& key) {
  const auto ring = Keyring::from_base64({key});
  if (!ring) return tl::unexpected(ring.error());
  return {};
}

KeysReply KeyKeeper::reply(bool list) const {
  KeysReply reply;
  if (!list) return reply;
  const SecretTexts keys = ring_.to_base64();
  for (const std::string& key : keys.get()) {
    control::KeyHolders& held = *reply.add_keys();
    held.set_key(key);
    held.set_members(1);
  }
  return reply;
}

void KeyKeeper::ask(const KeysRequest& request, Done done) {
  if (ring_.is_insecure()) {
    // Serf's words.
    const bool list = request.operation() == KeysRequest::LIST;
    return done(fail(
        ErrorKind::kConflict,
        std::string("No keyring to ") + (list ? "list" : "modify") + " (encryption not enabled)"));
  }
  if (waiting_.size() >= kMaxWaiting) {
    return done(fail(ErrorKind::kBusy, "too many changes of keys wait for the disk"));
  }
  waiting_.push_back({request, std::move(done)});
  next();
}

void KeyKeeper::next() {
  if (busy_ || waiting_.empty()) return;
  busy_ = true;
  Waiting waiting = std::move(waiting_.front());
  waiting_.pop_front();
  carry_out(std::move(waiting));
}

Result<SecretTexts> KeyKeeper::changed(const KeysRequest& request) const {
  const std::string& key = request.key();
  if (auto valid = check(key); !valid) return tl::unexpected(valid.error());
  const SecretTexts before = ring_.to_base64();
  std::vector<std::string> keys = before.get();
  const auto found = std::find(keys.begin(), keys.end(), key);
  switch (request.operation()) {
    case KeysRequest::INSTALL:
      if (found != keys.end()) break;
      if (keys.size() >= Keyring::kMaxKeys) {
        return fail(ErrorKind::kTooLarge, "the keyring is full with " +
                                              std::to_string(Keyring::kMaxKeys) +
                                              " keys: remove one that is no longer in use");
      }
      keys.push_back(key);
      break;
    case KeysRequest::USE:
      if (found == keys.end()) {
        return fail(ErrorKind::kNotFound, "requested key is not in the keyring");
      }
      std::rotate(keys.begin(), found, found + 1);
      break;
    case KeysRequest::REMOVE:
      if (found == keys.begin()) {
        return fail(ErrorKind::kConflict, "removing the primary key is not allowed");
      }
      if (found != keys.end()) {
        wipe(*found);
        keys.erase(found);
      }
      break;
    default:
      return fail(ErrorKind::kInvalid, "unknown operation on keys: this agent may be too old");
  }
  return SecretTexts(std::move(keys));
}

void KeyKeeper::carry_out(Waiting waiting) {
  if (waiting.request.operation() == KeysRequest::LIST) {
    return finish(waiting, ring_.to_base64());
  }
  auto keys = changed(waiting.request);
  if (!keys) {
    waiting.done(tl::unexpected(std::move(keys.error())));
    busy_ = false;
    return next();
  }
  if (keys->get() == ring_.to_base64().get() || file_.empty()) return finish(waiting, *keys);
  const auto written = std::make_shared<Result<void>>();
  const auto shared = std::make_shared<Waiting>(std::move(waiting));
  const bool queued =
      store_.run([written, path = file_,
                  keys = *keys](Database&) { *written = write_keyring(path, keys.get()); },
                 [this, alive = std::weak_ptr<bool>(alive_), written, shared, keys = *keys] {
                   if (!alive.lock()) return;
                   if (*written) return finish(*shared, keys);
                   shared->done(tl::unexpected(written->error()));
                   busy_ = false;
                   next();
                 });
  if (queued) return;
  shared->done(fail(ErrorKind::kBusy, "too much waits for the disk: try again"));
  busy_ = false;
  next();
}

void KeyKeeper::finish(const Waiting& waiting, const SecretTexts& keys) {
  if (keys.get() != ring_.to_base64().get()) {
    auto ring = Keyring::from_base64(keys.get());
    if (!ring) {
      waiting.done(tl::unexpected(std::move(ring.error())));
      busy_ = false;
      return next();
    }
    ring_ = std::move(*ring);
    publish_(ring_, keys.get());
  }
  KeysReply told = reply(waiting.request.operation() == KeysRequest::LIST);
  if (waiting.request.operation() != KeysRequest::LIST && file_.empty()) {
    control::KeyValue& note = *told.add_messages();
    note.set_value(
        "has no keyring_file: what was changed is lost when it restarts; change its configuration");
  }
  waiting.done(std::move(told));
  busy_ = false;
  next();
}

// --- the answers of all ------------------------------------------------------------------------

KeyRound::KeyRound(size_t addressed, const std::vector<membership::Member>& members)
    : addressed_(addressed) {
  for (const membership::Member& member : members) {
    if (member.status != membership::Status::kFailed) continue;
    say(member.name, "has failed and was not asked: see to its keys before it comes back");
  }
}

void KeyRound::say(const std::string& member, const std::string& what) {
  control::KeyValue& said = *told_.add_messages();
  said.set_key(member);
  said.set_value(what);
}

void KeyRound::answered(const membership::QueryAnswered& answered) {
  if (answered.kind == membership::ReplyKind::kAck) return;
  if (!heard_.insert(answered.from).second) return;
  KeysReply answer;
  if (answered.kind != membership::ReplyKind::kResponse ||
      !answer.ParseFromString(answered.payload)) {
    ++failed_;
    say(answered.from, answered.error.empty()
                           ? "does not know about keys: it may be older than this agent"
                           : answered.error);
    return;
  }
  for (const control::KeyValue& note : answer.messages()) say(answered.from, note.value());
  for (const control::KeyHolders& key : answer.keys()) {
    if (!KeyKeeper::check(key.key())) continue;  // no key, whatever it is
    ++holders_[key.key()];
  }
}

control::Reply KeyRound::end(const std::vector<membership::SilentMember>& silent) {
  for (const membership::SilentMember& each : silent) {
    if (heard_.contains(each.name)) continue;
    say(each.name, "did not answer (" + std::string(membership::silence_name(each.why)) +
                       "): it may have done it or not");
  }
  control::Reply reply;
  const size_t answered = heard_.size();
  const std::string of = "/" + std::to_string(addressed_) + " nodes reported ";  // Serf's words
  if (failed_ > 0) {
    reply.set_error(std::to_string(failed_) + of + "failure");
  } else if (answered < addressed_) {
    reply.set_error(std::to_string(answered) + of + "success");
  }
  told_.set_members(static_cast<uint32_t>(addressed_));
  told_.set_answered(static_cast<uint32_t>(answered));
  told_.set_failed(static_cast<uint32_t>(failed_));
  for (const auto& [key, members] : holders_) {
    control::KeyHolders& held = *told_.add_keys();
    held.set_key(key);
    held.set_members(members);
  }
  *reply.mutable_keys() = std::move(told_);
  return reply;
}

}  // namespace starling::agent
