// SPDX-License-Identifier: Apache-2.0
#include "membership/forgery_budget.h"

#include <algorithm>
#include <iterator>

namespace starling::membership {

bool ForgeryBudget::spent(const Address& source) const {
  if (sources_.empty()) return false;
  const auto found = sources_.find(source);
  return found != sources_.end() && left(found->second) < 1;
}

void ForgeryBudget::charge(const Address& source) {
  Budget& budget = budget_of(source);
  budget.left = left(budget) - 1;
  budget.at = context_.now;
}

double ForgeryBudget::left(const Budget& budget) const {
  const double seconds = std::chrono::duration<double>(context_.now - budget.at).count();
  return std::min(kBurst, budget.left + seconds * kRate);
}

ForgeryBudget::Budget& ForgeryBudget::budget_of(const Address& source) {
  const auto found = sources_.find(source);
  if (found != sources_.end()) return found->second;
  if (sources_.size() >= kMaxSources) {
    std::erase_if(sources_, [this](const auto& each) { return left(each.second) >= kBurst; });
  }
  // Still full of those that forge: a random one of them gets a second chance.
  if (sources_.size() >= kMaxSources) {
    sources_.erase(std::next(sources_.begin(),
                             static_cast<std::ptrdiff_t>(context_.random.below(sources_.size()))));
  }
  return sources_.emplace(source, Budget{kBurst, context_.now}).first->second;
}

}  // namespace starling::membership
