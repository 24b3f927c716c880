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

bool is_glob(std::string_view text) {
  return text.find_first_of("*?") != std::string_view::npos;
}

bool glob_matches(std::string_view glob, std::string_view text) {
  const auto skip_character = [text](size_t at) {
    // The bytes that continue a UTF-8 character are 10xxxxxx.
    do ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U);
    return at;
  };
  size_t at = 0;
  size_t sign = 0;
  size_t star = std::string_view::npos;  // the last one, which may stand for more
  size_t resume = 0;
  while (at < text.size()) {
    if (sign < glob.size() && glob[sign] == '*') {
      star = sign++;
      resume = at;
    } else if (sign < glob.size() && glob[sign] == '?') {
      ++sign;
      at = skip_character(at);
    } else if (sign < glob.size() && glob[sign] == text[at]) {
      ++sign;
      ++at;
    } else if (star != std::string_view::npos) {
      sign = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', sign) == std::string_view::npos;
}

}  // namespace starling::membership
