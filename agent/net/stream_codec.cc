// SPDX-License-Identifier: Apache-2.0
#include "agent/net/stream_codec.h"

#include <sodium.h>

#include <algorithm>

#include "proto/support/assert.h"

namespace starling::agent {

namespace {

static_assert(kFrameTagSize == crypto_aead_xchacha20poly1305_ietf_ABYTES);

constexpr std::string_view kMagic = "STRL";
constexpr std::string_view kKeyLabel = "starling stream key 1";
constexpr size_t kKeyIdAt = kMagic.size() + 1;
// A buffer that held a large frame is given back when it is empty.
constexpr size_t kKeepCapacity = 64U << 10;

const uint8_t* raw(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

using FrameNonce = std::array<uint8_t, crypto_aead_xchacha20poly1305_ietf_NPUBBYTES>;

// Each direction has a key of its own, made for this stream: counting is enough.
FrameNonce frame_nonce(uint64_t counter) {
  FrameNonce nonce{};
  for (size_t i = 0; i < sizeof counter; ++i) {
    nonce[nonce.size() - 1 - i] = static_cast<uint8_t>(counter >> (8 * i));
  }
  return nonce;
}

}  // namespace

std::string_view stream_failure_text(StreamFailure failure) {
  switch (failure) {
    case StreamFailure::kNone:
      return "no failure";
    case StreamFailure::kNotStarling:
      return "the other side does not speak Starling's protocol";
    case StreamFailure::kVersion:
      return "the other side speaks another version of the protocol";
    case StreamFailure::kUnknownKey:
      return "sealed with another key: compare the cluster keys";
    case StreamFailure::kSelf:
      return "connected to itself";
    case StreamFailure::kTooLong:
      return "a frame of forbidden length";
    case StreamFailure::kForged:
      return "a forged or damaged frame";
  }
  return "unknown";
}

StreamCodec::StreamCodec(const Keyring& keyring, Role role)
    : keyring_(&keyring), own_key_(keyring.id(0)), role_(role) {
  hello_.reserve(kStreamHelloSize);
  hello_ += kMagic;
  hello_ += static_cast<char>(kStreamVersion);
  hello_.append(reinterpret_cast<const char*>(own_key_.data()), own_key_.size());
  std::array<char, kStreamNonceSize> nonce{};
  randombytes_buf(nonce.data(), nonce.size());
  hello_.append(nonce.data(), nonce.size());
  handshake_out_ = hello_;
}

bool StreamCodec::set_keyring(const Keyring& keyring) {
  if (!keyring.find(own_key_)) return false;
  keyring_ = &keyring;
  return true;
}

void StreamCodec::take_handshake(std::string& out) {
  out += handshake_out_;
  handshake_out_.clear();
}

void StreamCodec::receive(std::string_view bytes) {
  message_ = {};
  if (failure_ != StreamFailure::kNone) return;
  in_.append(bytes);
}

StreamCodec::Event StreamCodec::next() {
  message_ = {};
  if (failure_ != StreamFailure::kNone) return Event::kFailed;
  Event event = Event::kNone;
  if (peer_hello_.empty()) event = read_hello();
  if (event == Event::kNone && !peer_hello_.empty()) event = read_frame();
  if (event == Event::kNone && consumed_ > 0) {
    in_.erase(0, consumed_);
    consumed_ = 0;
    if (in_.empty() && in_.capacity() > kKeepCapacity) in_.shrink_to_fit();
  }
  return event;
}

StreamCodec::Event StreamCodec::fail_with(StreamFailure failure) {
  failure_ = failure;
  in_.clear();
  in_.shrink_to_fit();
  consumed_ = 0;
  return Event::kFailed;
}

StreamCodec::Event StreamCodec::read_hello() {
  const size_t seen = std::min(in_.size(), kMagic.size());
  if (in_.compare(0, seen, kMagic, 0, seen) != 0) return fail_with(StreamFailure::kNotStarling);
  if (in_.size() > kMagic.size() && raw(in_)[kMagic.size()] != kStreamVersion) {
    return fail_with(StreamFailure::kVersion);
  }
  if (in_.size() < kStreamHelloSize) return Event::kNone;
  if (in_.compare(0, kStreamHelloSize, hello_) == 0) return fail_with(StreamFailure::kSelf);
  Keyring::Id id{};
  std::copy_n(raw(in_) + kKeyIdAt, id.size(), id.begin());
  const auto key = keyring_->find(id);
  if (!key) return fail_with(StreamFailure::kUnknownKey);
  peer_hello_ = in_.substr(0, kStreamHelloSize);
  consumed_ = kStreamHelloSize;
  agree_on_keys(*key);
  return Event::kNone;
}

// Each side seals with what was its primary key when it said hello. Both hellos go into both keys,
// so that neither a captured stream nor its first bytes are worth anything in another one.
void StreamCodec::agree_on_keys(size_t peer_key) {
  const bool opener = role_ == Role::kOpener;
  const std::string_view opener_hello = opener ? hello_ : peer_hello_;
  const std::string_view accepter_hello = opener ? peer_hello_ : hello_;
  const auto derive = [&](size_t index, bool by_opener) {
    return keyring_->derive(
        index, {kKeyLabel, by_opener ? "opener" : "accepter", opener_hello, accepter_hello});
  };
  send_key_ = derive(*keyring_->find(own_key_), opener);
  receive_key_ = derive(peer_key, !opener);
  can_seal_ = true;
  seal({}, handshake_out_);  // proves that we hold the key
}

StreamCodec::Event StreamCodec::read_frame() {
  const size_t available = in_.size() - consumed_;
  if (available < kFrameLengthSize) return Event::kNone;
  auto* const frame = reinterpret_cast<uint8_t*>(in_.data()) + consumed_;
  size_t size = 0;
  for (size_t i = 0; i < kFrameLengthSize; ++i) size = size << 8 | frame[i];
  const size_t longest = established_ ? kMaxFrame : kFrameTagSize;
  if (size < kFrameTagSize || size > longest) return fail_with(StreamFailure::kTooLong);
  if (available - kFrameLengthSize < size) return Event::kNone;
  uint8_t* const body = frame + kFrameLengthSize;
  const FrameNonce nonce = frame_nonce(received_++);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(body, nullptr, nullptr, body, size, frame,
                                                 kFrameLengthSize, nonce.data(),
                                                 receive_key_.data()) != 0) {
    return fail_with(StreamFailure::kForged);
  }
  consumed_ += kFrameLengthSize + size;
  if (!established_) {
    established_ = true;
    return Event::kEstablished;
  }
  message_ = {reinterpret_cast<const char*>(body), size - kFrameTagSize};
  return Event::kMessage;
}

void StreamCodec::seal(std::string_view message, std::string& out) {
  STARLING_ASSERT(can_seal_);
  STARLING_ASSERT(message.size() <= membership::kMaxStreamMessage);
  const size_t size = message.size() + kFrameTagSize;
  const size_t at = out.size();
  out.resize(at + kFrameLengthSize + size);
  auto* const frame = reinterpret_cast<uint8_t*>(out.data()) + at;
  for (size_t i = 0; i < kFrameLengthSize; ++i) {
    frame[i] = static_cast<uint8_t>(size >> (8 * (kFrameLengthSize - 1 - i)));
  }
  const FrameNonce nonce = frame_nonce(sent_++);
  crypto_aead_xchacha20poly1305_ietf_encrypt(frame + kFrameLengthSize, nullptr, raw(message),
                                             message.size(), frame, kFrameLengthSize, nullptr,
                                             nonce.data(), send_key_.data());
}

}  // namespace starling::agent
