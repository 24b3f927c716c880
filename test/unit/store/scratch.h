// SPDX-License-Identifier: Apache-2.0
//
// A directory for one test, removed at its end, and ids to fill it with.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "agent/store/state.h"
#include "membership/ids.h"

namespace starling::agent {

class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "starling-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

inline void spill(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

inline membership::NodeId node_id(uint8_t n) {
  membership::NodeId id;
  id.bytes.fill(n);
  return id;
}

inline membership::MessageId message_id(uint8_t origin, uint64_t sequence, uint32_t epoch = 7) {
  return {node_id(origin), epoch, sequence};
}

}  // namespace starling::agent
