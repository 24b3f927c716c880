// SPDX-License-Identifier: Apache-2.0
//
// How long a suspect may defend itself (Lifeguard section IV.B).
#pragma once

#include <cstddef>
#include <set>

#include "membership/ids.h"
#include "membership/options.h"
#include "membership/time.h"

namespace starling::membership {

/// max(min, max - (max - min) * ln(c + 1) / ln(k + 1)): from `max` without confirmation down to
/// `min` with `wanted` of them. With `wanted` 0 (nobody to ask) it is `min`.
[[nodiscard]] Duration suspicion_timeout(Duration min, Duration max, size_t confirmations,
                                         size_t wanted);

/// One member under suspicion, as this node sees it.
struct Suspicion {
  Incarnation incarnation;    ///< the accused one
  TimePoint start;            ///< anew when it is first confirmed; moved forward by time in which
                              ///< we were stalled or deaf
  std::set<NodeId> accusers;  ///< who found it unreachable, at first hand
  bool refused = false;       ///< two hosts saw its host refuse the port
  bool self_refused = false;  ///< our own ping and stream were both refused
  bool saw_refused = false;   ///< we have seen it refused, by ourselves or with helpers
  bool looked = false;        ///< ... or have tried to
  bool declared = false;      ///< somebody has declared it failed
  bool own = false;           ///< we found it unreachable, whether that was news or not
  TimePoint not_before;       ///< it is given until then in any case
  TimePoint heard = kNever;   ///< when it last spoke to us itself
  TimePoint told = kNever;    ///< when we last answered that with what is said about it

  [[nodiscard]] size_t confirmations() const { return accusers.empty() ? 0 : accusers.size() - 1; }
  /// Confirmations that bring the timeout down to its minimum among `up` members (this one and the
  /// suspect included).
  [[nodiscard]] static size_t wanted(const Options& options, size_t up);
  /// When it fails unless it refutes.
  [[nodiscard]] TimePoint deadline(const Options& options, size_t up) const;
};

/// Clusters smaller than this have nobody to confirm: one member's word is enough there.
inline constexpr size_t kConfirmFrom = 4;
/// In clusters smaller than this, a member that hears nobody takes the others for dead after
/// Options::suspicion_max instead of Options::isolated_after.
inline constexpr size_t kManyFrom = 8;

}  // namespace starling::membership
