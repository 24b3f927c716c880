// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error, for everything that can fail for a reason outside the program.
// Exceptions of libraries (yaml-cpp, CLI11, Asio) stop in the file that uses the library.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace starling {

/// What kind of failure this is: what a caller may want to tell apart. The message is for people.
enum class ErrorKind {
  kInvalid,      ///< the input is wrong; retrying it is pointless
  kNotFound,     ///< the named thing does not exist
  kConflict,     ///< refused because of the present state (already done, not allowed now)
  kTooLarge,     ///< over a size limit
  kBusy,         ///< over a rate or queue limit; retry later
  kUnavailable,  ///< a peer, file or service could not be reached
  kTimeout,      ///< no answer before the deadline
  kInternal,     ///< a bug or a broken environment (disk full, corrupt store)
};

/// Says what was wrong, where, and what to do, in one line without a trailing newline.
struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;

  bool operator==(const Error&) const = default;
};

template <typename T>
using Result = tl::expected<T, Error>;

/// `return fail(ErrorKind::kInvalid, "...")` from any function that returns a Result.
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorKind kind, std::string message) {
  return tl::unexpected<Error>(Error{kind, std::move(message)});
}

}  // namespace starling
