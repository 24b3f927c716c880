// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/signing.h"

#include <array>
#include <chrono>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/passphrase.h"
#include "agent/config/text.h"
#include "agent/trust/key_file.h"
#include "agent/trust/order.h"
#include "proto/support/unix_time.h"

namespace starling::agent {
namespace {

constexpr const char* kVariable = "STARLING_OPERATOR_KEY";

/// -valid-for in milliseconds; none, with the error reported.
std::optional<int64_t> read_validity(const Invocation& invocation, Context& context) {
  if (!invocation.given("valid-for")) return kUsualValidity_ms;
  const auto duration = config::parse_duration(invocation.value("valid-for"));
  const int64_t ms =
      duration ? std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count() : 0;
  if (ms >= 1000 && ms <= kMostValidity_ms) return ms;
  usage_error(invocation, context,
              "invalid value for -valid-for: " +
                  (duration ? "wants 1s to 720h" : duration.error().message));
  return std::nullopt;
}

std::optional<SigningKey> unlock(const Invocation& invocation, Context& context,
                                 const std::string& path) {
  const auto file = KeyFile::read(path);
  if (!file) {
    report(context, file.error());
    return std::nullopt;
  }
  std::optional<SecretBytes> passphrase;
  if (file->locked()) {
    passphrase = read_passphrase(invocation, context, "Passphrase of " + path + ": ");
    if (!passphrase) return std::nullopt;
  }
  auto key = file->unlock(passphrase ? &*passphrase : nullptr);
  if (key) return *std::move(key);
  report(context, key.error());
  return std::nullopt;
}

}  // namespace

std::span<const FlagSpec> signing_flags() {
  static constexpr auto kFlags = std::to_array<FlagSpec>({
      {"sign", "FILE", false,
       "sign it with this operator's key (default: $STARLING_OPERATOR_KEY, or not at all)"},
      {"passphrase-file", "FILE", false,
       "read the key's passphrase from a file, - for standard input (default: ask at the "
       "terminal)"},
      {"valid-for", "DURATION", false,
       "how long the signature may be used, 1s to 720h (default: 24h)"},
  });
  return kFlags;
}

std::optional<SigningKey> signing_key(const Invocation& invocation, Context& context) {
  const std::string path =
      invocation.value("sign", context.environment.get(kVariable).value_or(""));
  if (!path.empty()) return unlock(invocation, context, path);
  usage_error(
      invocation, context,
      "this needs an operator's signature: give -sign FILE, or set $" + std::string(kVariable));
  return std::nullopt;
}

bool sign_if_asked(const Invocation& invocation, Context& context, control::Request& request) {
  const std::string path =
      invocation.value("sign", context.environment.get(kVariable).value_or(""));
  if (path.empty()) {
    for (const char* flag : {"passphrase-file", "valid-for"}) {
      if (!invocation.given(flag)) continue;
      usage_error(invocation, context, std::string("-") + flag + " goes with -sign.");
      return false;
    }
    return true;
  }
  if (asks_serf_rpc(invocation, context)) {
    if (!invocation.given("sign")) return true;  // not asked for this command in particular
    report(context,
           {ErrorKind::kInvalid,
            "Serf's RPC cannot carry a signature: leave -sign out, or ask over the control "
            "socket (-control)"});
    return false;
  }
  const auto validity = read_validity(invocation, context);
  if (!validity) return false;
  const auto key = unlock(invocation, context, path);
  if (!key) return false;
  sign_request(request, *key, unix_milliseconds(), *validity);
  return true;
}

}  // namespace starling::agent
