// SPDX-License-Identifier: Apache-2.0
//
// Output: what is kept of a command's output. The first bytes (a query's answer) and the last
// ones (the log), each up to a limit; memory is bounded whatever the command prints. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace starling::handlers {

class Output {
 public:
  Output(size_t head_limit, size_t tail_limit) : head_limit_(head_limit), tail_limit_(tail_limit) {}

  void append(std::string_view bytes);

  /// Bytes that were printed, kept or not.
  [[nodiscard]] uint64_t total() const { return total_; }
  /// The first bytes, moved out.
  [[nodiscard]] std::string take_head() { return std::move(head_); }
  /// The last bytes, in order.
  [[nodiscard]] std::string tail() const;

 private:
  const size_t head_limit_;
  const size_t tail_limit_;
  uint64_t total_ = 0;
  std::string head_;
  std::string ring_;  ///< the last bytes; once full, its oldest byte is at oldest_
  size_t oldest_ = 0;
};

}  // namespace starling::handlers
