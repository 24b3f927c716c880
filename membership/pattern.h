// SPDX-License-Identifier: Apache-2.0
//
// Patterns over names and tags: globs, and regular expressions by RE2, which is linear in the input
// whatever the pattern, and whose syntax is that of Serf's filters.
#pragma once

#include <memory>
#include <string_view>

#include "proto/support/result.h"

namespace re2 {
class RE2;
}

namespace starling::membership {

class Pattern {
 public:
  /// kInvalid for a broken expression or one over 256 bytes; the message holds both. With `whole`,
  /// all of the text must match.
  static Result<Pattern> compile(std::string_view expression, bool whole);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  [[nodiscard]] bool matches(std::string_view text) const;

 private:
  Pattern(std::unique_ptr<re2::RE2> expression, bool whole);
  std::unique_ptr<re2::RE2> expression_;
  bool whole_;
};

/// Whether all of `text` is what `glob` says: `*` is any text, `?` one character, everything else
/// itself. Takes time in the product of their lengths at the most.
[[nodiscard]] bool glob_matches(std::string_view glob, std::string_view text);
/// Whether it has one of these signs.
[[nodiscard]] bool is_glob(std::string_view text);

}  // namespace starling::membership
