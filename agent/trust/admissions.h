// SPDX-License-Identifier: Apache-2.0
//
// Admissions: which nodes operators have admitted and banned, and who may be heard for it. One
// statement is kept for each node, the one that counts (statement.h), also of operators who have
// lost this agent's trust since: it then counts for nothing.
//
// A ban is always obeyed. That a node has to be admitted is the configuration's choice, and begins
// when an operator closes the cluster (a statement about no node, kEverybody): whoever does not
// know that it is closed does not know who is admitted either, and has to hear the others to be
// told.
//
// Pure; one thread. What take() accepts has to be kept by its caller.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/trust/statement.h"
#include "membership/ids.h"
#include "proto/support/result.h"

namespace starling::agent {

class Admissions {
 public:
  static constexpr size_t kMaxStatements = 16'384;
  /// Nodes that were refused and are remembered, for `node pending`.
  static constexpr size_t kMaxKnocks = 64;
  /// What is issued later than this from now is not believed: it could never be taken back.
  static constexpr int64_t kMostAhead_ms = int64_t{3600} * 1000;

  /// The id of no node: banned, it closes the cluster to all that are not admitted; admitted, it
  /// opens it again.
  static constexpr membership::NodeId kEverybody{};

  /// The operator's name, if this key may make statements now.
  using Entitled = std::function<std::optional<std::string>(const OperatorKey& key)>;

  struct Knock {
    membership::NodeId id;
    std::string name;  ///< if it was told
    uint64_t count = 0;
    int64_t last_ms = 0;
  };
  struct Entry {
    trust::Statement statement;
    std::string by;  ///< the operator's name; empty: not trusted (any more)
    bool expired = false;
  };

  /// `required`: nodes that are not admitted are not heard. `stored`: encoded statements.
  Admissions(membership::NodeId self, bool required, Entitled entitled,
             const std::vector<std::string>& stored);

  /// True: it is news, and counts from the next review() on. kInvalid; kConflict: by somebody who
  /// may not; kTooLarge.
  Result<bool> take(const trust::Statement& statement, int64_t now_ms);
  /// There is news, who is entitled has changed, or next_end_ms() has come.
  void review(int64_t now_ms);
  /// When the first admission ends; INT64_MAX: none does.
  [[nodiscard]] int64_t next_end_ms() const { return next_end_ms_; }
  void set_required(bool required) { required_ = required; }

  /// Whether a node is heard; one that is not has knocked. `name` may be empty.
  [[nodiscard]] bool admits(const membership::NodeId& id, std::string_view name, int64_t now_ms);
  /// Whether nodes that are not admitted are refused at present.
  [[nodiscard]] bool enforced() const { return required_ && closed_; }
  /// Whether an operator has admitted this node under this name; an empty one fits.
  [[nodiscard]] bool admitted(const membership::NodeId& id, std::string_view name,
                              int64_t now_ms) const;
  [[nodiscard]] bool required() const { return required_; }
  /// Why this agent itself is banned; empty: it is not.
  [[nodiscard]] std::string own_ban() const;

  [[nodiscard]] std::vector<Entry> list(int64_t now_ms) const;
  [[nodiscard]] std::vector<Knock> knocks() const;
  [[nodiscard]] size_t size() const { return statements_.size(); }
  /// The same at two agents that hold the same.
  [[nodiscard]] std::string digest() const;
  /// Those of greater ids, in order, up to about `bytes`; at least one if there is one.
  [[nodiscard]] std::vector<trust::Statement> page(std::string_view after, size_t bytes,
                                                   bool& more) const;
  [[nodiscard]] uint64_t refused_full() const { return refused_full_; }

 private:
  struct Word {
    bool banned = false;
    std::string name;
    int64_t not_after_ms = 0;
  };
  void note_knock(const membership::NodeId& id, std::string_view name, int64_t now_ms);

  const membership::NodeId self_;
  bool required_;
  const Entitled entitled_;
  std::map<std::string, trust::Statement> statements_;  // by node id
  std::unordered_map<membership::NodeId, Word> words_;  // those that count
  int64_t next_end_ms_ = INT64_MAX;                     // of an admission
  bool closed_ = false;
  std::deque<Knock> knocks_;  // the latest last
  uint64_t refused_full_ = 0;
};

}  // namespace starling::agent
