// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/suspicion.h"

#include <algorithm>
#include <cmath>

namespace starling::membership {

Duration suspicion_timeout(Duration min, Duration max, size_t confirmations, size_t wanted) {
  if (wanted == 0 || confirmations >= wanted) return min;
  const double share =
      std::log(static_cast<double>(confirmations) + 1) / std::log(static_cast<double>(wanted) + 1);
  const auto saved = static_cast<Duration::rep>(static_cast<double>((max - min).count()) * share);
  return std::max(min, max - Duration(saved));
}

size_t Suspicion::wanted(const Options& options, size_t up) {
  if (up < kConfirmFrom) return 0;
  return std::min<size_t>(options.suspicion_confirmations, up - 2);
}

TimePoint Suspicion::deadline(const Options& options, size_t up) const {
  const Duration min =
      refused ? std::min(options.suspicion_refused, options.suspicion_min) : options.suspicion_min;
  // A declaration carries its confirmations; our own first-hand double refusal needs none.
  const Duration timeout =
      declared || refused || self_refused
          ? min
          : suspicion_timeout(min, options.suspicion_max, confirmations(), wanted(options, up));
  return std::max(start + timeout, not_before);
}

}  // namespace starling::membership
