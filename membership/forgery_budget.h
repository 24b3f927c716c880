// SPDX-License-Identifier: Apache-2.0
//
// ForgeryBudget: a signature costs tens of microseconds to verify, so who sends forgeries is soon
// not worth the effort: so many are verified of each source at once, and so many a second.
#pragma once

#include <cstddef>
#include <map>

#include "membership/address.h"
#include "membership/context.h"

namespace starling::membership {

class ForgeryBudget {
 public:
  static constexpr double kBurst = 64;
  static constexpr double kRate = 8;
  /// Sources that are remembered.
  static constexpr size_t kMaxSources = 1024;

  explicit ForgeryBudget(Context& context) : context_(context) {}

  /// `source` has sent so many forgeries that nothing of it is verified now.
  [[nodiscard]] bool spent(const Address& source) const;
  /// It has sent one.
  void charge(const Address& source);
  [[nodiscard]] size_t sources() const { return sources_.size(); }

 private:
  struct Budget {
    double left = kBurst;
    TimePoint at;
  };

  [[nodiscard]] double left(const Budget& budget) const;
  Budget& budget_of(const Address& source);

  Context& context_;
  std::map<Address, Budget> sources_;
};

}  // namespace starling::membership
