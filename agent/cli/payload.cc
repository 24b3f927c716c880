// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/payload.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "agent/cli/ask.h"

namespace starling::agent {
namespace {

std::optional<std::string> read_all(std::istream& stream, const std::string& what,
                                    Context& context) {
  std::string payload(kMaxPayloadBytes + 1, '\0');
  errno = 0;
  stream.read(payload.data(), static_cast<std::streamsize>(payload.size()));
  if (stream.bad()) {
    report(context,
           Error{ErrorKind::kUnavailable, "cannot read " + what + ": " + std::strerror(errno)});
    return std::nullopt;
  }
  payload.resize(static_cast<std::size_t>(stream.gcount()));
  if (payload.size() > kMaxPayloadBytes) {
    report(context, Error{ErrorKind::kTooLarge,
                          what + " is larger than an event may be, 1 MiB: put it where the members "
                                 "can fetch it, and send its address"});
    return std::nullopt;
  }
  return payload;
}

}  // namespace

std::optional<std::string> read_payload(const Invocation& invocation, Context& context) {
  const bool argument = invocation.arguments.size() > 1;
  const bool file = invocation.given("payload-file");
  if (argument && file) {
    usage_error(invocation, context,
                "A payload is given as an argument or with -payload-file, not both.");
    return std::nullopt;
  }
  if (file) {
    const std::string path = invocation.value("payload-file");
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
      report(context, Error{ErrorKind::kInvalid,
                            "cannot read -payload-file " + path + ": " + std::strerror(errno)});
      return std::nullopt;
    }
    return read_all(stream, path, context);
  }
  if (!argument) return std::string();
  if (invocation.arguments[1] != "-") return invocation.arguments[1];
  if (context.in == nullptr) return std::string();
  return read_all(*context.in, "standard input", context);
}

}  // namespace starling::agent
