// SPDX-License-Identifier: Apache-2.0
#include "handlers/output.h"

#include <algorithm>

namespace starling::handlers {

void Output::append(std::string_view bytes) {
  total_ += bytes.size();
  if (head_.size() < head_limit_) head_.append(bytes.substr(0, head_limit_ - head_.size()));
  if (tail_limit_ == 0) return;
  if (bytes.size() >= tail_limit_) {
    ring_.assign(bytes.substr(bytes.size() - tail_limit_));
    oldest_ = 0;
    return;
  }
  const size_t grow = std::min(bytes.size(), tail_limit_ - ring_.size());
  ring_.append(bytes.substr(0, grow));
  for (const char c : bytes.substr(grow)) {
    ring_[oldest_] = c;
    oldest_ = (oldest_ + 1) % tail_limit_;
  }
}

std::string Output::tail() const {
  return ring_.substr(oldest_) + ring_.substr(0, oldest_);
}

}  // namespace starling::handlers
