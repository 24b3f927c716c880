// SPDX-License-Identifier: Apache-2.0
#include "agent/net/secret.h"

#include <sodium.h>

#include <mutex>
#include <utility>

#include "proto/support/assert.h"

namespace starling::agent {

namespace {

// A guarded allocation costs four pages, so keys share one.
constexpr size_t kKeysAtOnce = 120;  // with sodium's own canary less than a page

/// Places for keys. They are used again and never given back: there are as many as there were keys
/// at the same time, which the number of streams bounds.
class Places {
 public:
  uint8_t* take() {
    const std::lock_guard guard(mutex_);
    if (free_.empty()) grow();
    uint8_t* place = free_.back();
    free_.pop_back();
    return place;
  }

  void give(uint8_t* place) {
    const std::lock_guard guard(mutex_);
    free_.push_back(place);  // it has had room since grow()
  }

 private:
  void grow() {
    STARLING_ASSERT(sodium_init() >= 0);
    auto* page = static_cast<uint8_t*>(sodium_malloc(kKeysAtOnce * SecretKey::kSize));
    STARLING_ASSERT(page != nullptr);
    total_ += kKeysAtOnce;
    free_.reserve(total_);
    for (size_t i = kKeysAtOnce; i > 0; --i) free_.push_back(page + (i - 1) * SecretKey::kSize);
  }

  std::mutex mutex_;
  std::vector<uint8_t*> free_;
  size_t total_ = 0;
};

/// Outlives every key, also those that go when the program ends.
Places& places() {
  static auto* const kPlaces = new Places;
  return *kPlaces;
}

}  // namespace

SecretKey::SecretKey() : bytes_(places().take()) {
  sodium_memzero(bytes_, kSize);
}

SecretKey::~SecretKey() {
  if (bytes_ == nullptr) return;
  sodium_memzero(bytes_, kSize);
  places().give(bytes_);
}

SecretKey::SecretKey(SecretKey&& other) noexcept : bytes_(std::exchange(other.bytes_, nullptr)) {}

SecretKey& SecretKey::operator=(SecretKey&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

void wipe(std::string& text) {
  sodium_memzero(text.data(), text.size());
  text.clear();
}

SecretTexts::~SecretTexts() {
  for (std::string& text : texts_) wipe(text);
}

SecretTexts& SecretTexts::operator=(SecretTexts&& other) noexcept {
  std::swap(texts_, other.texts_);
  return *this;
}

}  // namespace starling::agent
