// SPDX-License-Identifier: Apache-2.0
#include "agent/config/sources.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "agent/config/flag_keys.h"
#include "agent/config/text.h"
#include "agent/config/yaml_reader.h"

namespace starling::agent::config {

namespace {

constexpr size_t kMostFiles = 1000;  // of one folder

tl::unexpected<Error> cannot_read(const std::string& path) {
  const ErrorKind kind = errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kUnavailable;
  return fail(kind, path + ": cannot read: " + std::strerror(errno));
}

bool is_config_name(std::string_view name) {
  if (name.starts_with('.')) return false;  // an editor's own, or a lock
  return name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json");
}

Result<std::vector<std::string>> files_of(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), &closedir);
  if (!open) return cannot_read(folder);
  std::vector<std::string> files;
  while (const dirent* entry = readdir(open.get())) {
    if (!is_config_name(entry->d_name)) continue;
    const std::string path = folder + (folder.ends_with('/') ? "" : "/") + entry->d_name;
    struct stat status{};
    if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) continue;
    if (files.size() >= kMostFiles) {
      return fail(ErrorKind::kTooLarge,
                  folder + ": more than " + std::to_string(kMostFiles) + " configuration files");
    }
    files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

Result<void> read_file_into(Draft& draft, const std::string& path) {
  auto text = read_config_file(path);
  if (!text) return tl::unexpected(text.error());
  auto root = parse_yaml(*text, path);
  if (!root) return tl::unexpected(root.error());
  draft.config.files.push_back(path);
  return apply_file(draft, *root);
}

bool is_source(const FlagValue& flag) {
  return flag.name == "config-file" || flag.name == "config-dir";
}

Result<void> read_source(Draft& draft, const FlagValue& flag) {
  if (flag.value.empty()) return fail(ErrorKind::kInvalid, "-" + flag.name + ": wants a path");
  if (flag.name == "config-file") return read_file_into(draft, flag.value);
  auto files = files_of(flag.value);
  if (!files) return tl::unexpected(files.error());
  if (files->empty()) {
    draft.config.warnings.push_back(
        {"-config-dir", "no *.yaml, *.yml or *.json file in " + flag.value});
  }
  for (const std::string& file : *files) {
    if (auto read = read_file_into(draft, file); !read) return read;
  }
  return {};
}

Result<void> apply_flag(Draft& draft, const FlagValue& flag) {
  const std::string_view name = key_of_flag(flag.name);
  if (name.empty()) {
    std::string text = "unknown flag " + quoted("-" + flag.name);
    if (const auto near = nearest_flag(flag.name); !near.empty()) {
      text += "; did you mean '-" + std::string(near) + "'?";
    }
    return fail(ErrorKind::kInvalid, text);
  }
  Value value;
  value.kind = Value::Kind::kFlag;
  value.text = flag.value;
  value.place = "-" + flag.name;
  if (flag.value.find('\0') != std::string::npos || !is_utf8(flag.value)) {
    return key_error(value, name, "not valid UTF-8");
  }
  return apply_key(draft, *find_key(name), value);
}

}  // namespace

Result<std::string> read_config_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (file < 0) return cannot_read(path);
  std::string text(kMaxConfigBytes + 1, '\0');
  size_t size = 0;
  ssize_t got = 1;
  while (got != 0 && size < text.size()) {
    got = read(file, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    size += static_cast<size_t>(got);
  }
  const int error = errno;
  close(file);
  if (got < 0) {
    errno = error;
    return cannot_read(path);
  }
  if (size > kMaxConfigBytes) {
    return fail(ErrorKind::kTooLarge,
                path + ": larger than " + std::to_string(kMaxConfigBytes) + " bytes");
  }
  text.resize(size);
  return text;
}

Result<Draft> read_sources(const std::vector<FlagValue>& flags) {
  Draft draft;
  for (const FlagValue& flag : flags) {
    if (!is_source(flag)) continue;
    if (auto read = read_source(draft, flag); !read) return tl::unexpected(read.error());
  }
  for (const FlagValue& flag : flags) {
    if (is_source(flag)) continue;
    if (auto applied = apply_flag(draft, flag); !applied) return tl::unexpected(applied.error());
  }
  draft.config.flags = flags;
  return draft;
}

}  // namespace starling::agent::config
