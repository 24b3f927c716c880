// SPDX-License-Identifier: Apache-2.0
//
// A configuration file, as far as it is understood without asking the network: read, merged over
// the defaults, shown, its handlers made. What `config convert` makes of a file that is valid is
// valid.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "agent/config/convert.h"
#include "agent/config/keys.h"
#include "agent/config/yaml_reader.h"
#include "agent/handler_specs.h"

namespace {

using namespace starling::agent;          // NOLINT(google-build-using-namespace)
using namespace starling::agent::config;  // NOLINT(google-build-using-namespace)

/// Whether the text is a configuration.
bool understood(const std::string& text) {
  const auto root = parse_yaml(text, "fuzz.yaml");
  if (!root) return false;
  Draft draft;
  if (!apply_file(draft, *root)) return false;
  if (apply_protocol_options(draft)) static_cast<void>(draft.config.options.validate());
  if (config_values(draft.config).empty()) std::abort();
  const auto specs = make_handler_specs(draft.config.event_handlers, draft.config);
  if (specs) {
    for (const auto& spec : *specs) static_cast<void>(spec.to_string());
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = memfd_create("fuzz.yaml", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (!understood(text)) return 0;
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) {
    std::abort();
  }
  const auto converted = convert_config(path);
  if (!converted || !understood(*converted)) {
    std::fprintf(stderr, "converted:\n%s\n", converted ? converted->c_str() : "(refused)");
    std::abort();
  }
  return 0;
}
