// SPDX-License-Identifier: Apache-2.0
//
// Operators: whose signatures this agent believes. Those of the configuration, and those that were
// trusted or revoked at run time, which the store keeps. A revocation counts for the
// configuration's too. Event-loop thread only; does no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/store/state.h"
#include "agent/trust/key.h"
#include "proto/support/result.h"

namespace starling::agent {

class Operators {
 public:
  static constexpr size_t kMaxConfigured = 256;
  /// Trusted or revoked at run time.
  static constexpr size_t kMaxStored = 1024;

  struct Entry {
    NamedKey named;
    bool configured = false;
    bool revoked = false;
    int64_t since_ms = 0;  ///< of the trust or revocation at run time; 0: never
  };

  /// `configured`: no two with one name or key. Of two trusted keys with one name the configured
  /// one counts.
  Operators(std::vector<NamedKey> configured, const std::vector<StoredOperator>& stored);
  void reconfigure(std::vector<NamedKey> configured);

  /// What it is called, if it is trusted.
  [[nodiscard]] const std::string* name_of(const OperatorKey& key) const;
  /// By name, then by key; revoked ones too.
  [[nodiscard]] std::vector<Entry> list() const;
  [[nodiscard]] size_t trusted() const;

  // Each gives what the store must keep.
  /// kConflict: another key has this name; kTooLarge.
  Result<StoredOperator> trust(const NamedKey& named, int64_t now_ms);
  /// `who`: a name, a key id, or the line of a public key, which may be one never trusted.
  /// kNotFound; kTooLarge.
  Result<StoredOperator> revoke(const std::string& who, int64_t now_ms);

 private:
  void rebuild();
  Result<StoredOperator> keep(StoredOperator changed);

  std::vector<NamedKey> configured_;
  std::map<OperatorKey, StoredOperator> stored_;
  std::map<OperatorKey, std::string> trusted_;
};

}  // namespace starling::agent
