// SPDX-License-Identifier: Apache-2.0
//
// For targets that read files: the input is a list of patches to a file that is whole. Each has
// four bytes of where (modulo the file's size), one of how many bytes, and these; the rest of the
// file stays. So an input is small, and every byte of it counts.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace starling::fuzz {

inline std::string patched(std::string file, std::string_view patches) {
  while (patches.size() > 5) {
    size_t at = 0;
    for (size_t i = 0; i < 4; ++i) at = at << 8 | static_cast<unsigned char>(patches[i]);
    const size_t wanted = static_cast<unsigned char>(patches[4]);
    patches.remove_prefix(5);
    const size_t size = std::min(wanted, patches.size());
    at %= std::max<size_t>(file.size(), 1);
    if (wanted == 0) file.resize(at);  // as after a crash in the middle of writing
    for (size_t i = 0; i < size && at + i < file.size(); ++i) file[at + i] = patches[i];
    patches.remove_prefix(size);
  }
  return file;
}

/// A folder in memory, for as long as the process runs.
class Folder {
 public:
  Folder() {
    std::string pattern = "/dev/shm/starling-fuzz-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void write(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::string path_;
};

}  // namespace starling::fuzz
