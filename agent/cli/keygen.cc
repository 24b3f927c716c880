// SPDX-License-Identifier: Apache-2.0
#include <sodium.h>

#include <array>
#include <ostream>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/json.h"

namespace starling::agent {
namespace {

constexpr std::size_t kKeyBytes = 32;

constexpr auto kFlags = std::to_array<FlagSpec>({
    {"format", "FORMAT", false, "output format, text or json (default: text)"},
});

int run(const Invocation& invocation, Context& context) {
  if (!takes_no_arguments(invocation, context)) return 1;
  const auto format = format_of(invocation, context);
  if (!format) return 1;
  if (::sodium_init() < 0) {
    report(context, {ErrorKind::kInternal, "the system's random numbers are not available"});
    return 1;
  }
  std::array<unsigned char, kKeyBytes> key = {};
  ::randombytes_buf(key.data(), key.size());
  std::array<char, sodium_base64_ENCODED_LEN(kKeyBytes, sodium_base64_VARIANT_ORIGINAL)> text = {};
  ::sodium_bin2base64(text.data(), text.size(), key.data(), key.size(),
                      sodium_base64_VARIANT_ORIGINAL);
  if (*format == Format::kJson) {
    context.out << field_json("key", text.data()) << "\n";
  } else {
    context.out << text.data() << "\n";
  }
  ::sodium_memzero(key.data(), key.size());
  return 0;
}

}  // namespace

const Command& keygen_command() {
  static const Command kCommand = {
      .name = "keygen",
      .arguments = "",
      .summary = "Generates a new encryption key",
      .description =
          "Generates a cluster key, as -encrypt and the keyring file expect it: 32 "
          "random bytes in base64. Needs no agent.",
      .example =
          "$ starling keygen\n"
          "OS97dKUY/0wlQR5j1CGvlH6z7xczZ/7vG8zGjq7N/xU=",
      .flags = kFlags,
      .client = false,
      .run = run,
  };
  return kCommand;
}

}  // namespace starling::agent
