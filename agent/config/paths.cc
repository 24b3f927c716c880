// SPDX-License-Identifier: Apache-2.0
#include "agent/config/paths.h"

namespace starling::agent {

namespace {

std::optional<std::string> absolute(const Environment& environment, const std::string& name) {
  auto path = environment.get(name);
  if (path && path->front() != '/') return std::nullopt;
  return path;
}

}  // namespace

std::string default_data_dir(const Environment& environment) {
  if (environment.uid == 0) return "/var/lib/starling";
  if (auto state = absolute(environment, "XDG_STATE_HOME")) return *state + "/starling";
  if (auto home = absolute(environment, "HOME")) return *home + "/.local/state/starling";
  return {};
}

std::string default_control_path(const Environment& environment) {
  if (auto path = environment.get("STARLING_CONTROL")) return *path;
  if (environment.uid == 0) return "/run/starling/control.sock";
  if (auto runtime = absolute(environment, "XDG_RUNTIME_DIR")) {
    return *runtime + "/starling/control.sock";
  }
  const std::string data_dir = default_data_dir(environment);
  return data_dir.empty() ? data_dir : data_dir + "/control.sock";
}

Result<void> check_socket_path(const std::string& path) {
  if (path.empty()) {
    return fail(ErrorKind::kInvalid,
                "no place for the control socket: set HOME or STARLING_CONTROL, or give -control");
  }
  if (path.find('\0') != std::string::npos) {
    return fail(ErrorKind::kInvalid, "the control socket's path holds a NUL byte");
  }
  if (path.size() > kMaxSocketPath) {
    return fail(ErrorKind::kTooLarge,
                "the control socket's path has " + std::to_string(path.size()) +
                    " bytes; at most " + std::to_string(kMaxSocketPath) +
                    " are possible: give a shorter one with -control: " + path);
  }
  return {};
}

}  // namespace starling::agent
