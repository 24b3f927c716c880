// SPDX-License-Identifier: Apache-2.0
#include "membership/pattern.h"

#include <re2/re2.h>

#include <string>
#include <utility>

namespace starling::membership {

namespace {
constexpr size_t kMaxExpression = 256;
constexpr int64_t kMaxMemory = 1 << 20;
}  // namespace

Result<Pattern> Pattern::compile(std::string_view expression, bool whole) {
  const std::string text(expression);
  if (text.size() > kMaxExpression) {
    return fail(ErrorKind::kInvalid, "regular expression of " + std::to_string(text.size()) +
                                         " bytes is over the limit of 256");
  }
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxMemory);
  auto compiled = std::make_unique<re2::RE2>(text, options);
  if (!compiled->ok()) {
    return fail(ErrorKind::kInvalid,
                "regular expression '" + text + "' is not valid: " + compiled->error());
  }
  return Pattern(std::move(compiled), whole);
}

Pattern::Pattern(std::unique_ptr<re2::RE2> expression, bool whole)
    : expression_(std::move(expression)), whole_(whole) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

bool Pattern::matches(std::string_view text) const {
  const re2::StringPiece piece(text.data(), text.size());
  return whole_ ? re2::RE2::FullMatch(piece, *expression_)
                : re2::RE2::PartialMatch(piece, *expression_);
}

}  // namespace starling::membership
