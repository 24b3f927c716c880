// SPDX-License-Identifier: Apache-2.0
//
// A folder that goes away, and an environment that the test decides.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/config/config.h"

namespace starling::agent {

/// 32 zero bytes.
inline constexpr const char* kTestKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "starling-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }

  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::string path_;
};

inline Environment test_environment(std::map<std::string, std::string> variables = {
                                        {"HOME", "/home/ada"}}) {
  Environment environment;
  environment.variable =
      [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  environment.hostname = "ada-host";
  environment.uid = 1000;
  return environment;
}

inline InterfaceAddress interface_address(const std::string& name, const std::string& ip) {
  return {name, *membership::Address::from_ip(ip, 0)};
}

/// The message, or "no error".
inline std::string error_of(const Result<Config>& result) {
  return result ? "no error" : result.error().message;
}

/// Loads `text` as the file agent.yaml. Errors and warnings name it as "agent.yaml".
class OneFile {
 public:
  explicit OneFile(const std::string& text) : file_(folder_.write("agent.yaml", text)) {}

  [[nodiscard]] Result<Config> load(std::vector<FlagValue> flags = {}) const {
    flags.insert(flags.begin(), {"config-file", file_});
    return load_config(flags, test_environment());
  }

  [[nodiscard]] std::string error(std::vector<FlagValue> flags = {}) const {
    return shown(error_of(load(std::move(flags))));
  }

  /// All warnings but the one about loopback, one a line.
  [[nodiscard]] std::string warnings() const {
    const auto config = load();
    if (!config) return shown("error: " + error_of(config));
    std::string lines;
    for (const Warning& warning : config->warnings) {
      if (!warning.place.empty()) lines += warning.to_string() + "\n";
    }
    return shown(lines);
  }

 private:
  [[nodiscard]] std::string shown(std::string text) const {
    const std::string prefix = folder_.path() + "/";
    for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix)) {
      text.erase(at, prefix.size());
    }
    return text;
  }

  Folder folder_;
  std::string file_;
};

}  // namespace starling::agent
