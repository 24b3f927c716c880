// SPDX-License-Identifier: Apache-2.0
#include "agent/config/tags_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "agent/config/text.h"
#include "agent/config/yaml_reader.h"
#include "membership/limits.h"

namespace starling::agent {

using config::json_string;
using config::parse_yaml;
using config::quoted;
using config::read_config_file;
using config::Value;
using config::ValueEntry;

namespace {

tl::unexpected<Error> system_error(const std::string& what, const std::string& path) {
  return fail(ErrorKind::kUnavailable, what + " " + path + ": " + std::strerror(errno));
}

std::string to_json(const Tags& tags) {
  std::string json = "{";
  for (const auto& [key, value] : tags) {
    json += (json.size() > 1 ? ",\n  " : "\n  ") + json_string(key) + ": " + json_string(value);
  }
  return json + (tags.empty() ? "}\n" : "\n}\n");
}

bool write_all(int file, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = write(file, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0;
}

/// The rename is on disk only when its folder is.
bool sync_folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return false;
  const bool synced = fsync(file) == 0;
  close(file);
  return synced;
}

Result<void> check_size(const std::string& path, const Tags& tags) {
  const size_t size = encoded_tags_size(tags);
  if (size <= membership::kMaxTags) return {};
  return fail(ErrorKind::kTooLarge, path + ": the tags take " + std::to_string(size) +
                                        " bytes; at most " + std::to_string(membership::kMaxTags) +
                                        " are possible");
}

}  // namespace

size_t encoded_tags_size(const Tags& tags) {
  size_t size = 0;
  for (const auto& [key, value] : tags) size += key.size() + value.size() + 2;
  return size;
}

Result<Tags> load_tags_file(const std::string& path) {
  auto text = read_config_file(path);
  if (!text) return tl::unexpected(text.error());
  auto root = parse_yaml(*text, path);
  if (!root) return tl::unexpected(root.error());
  Tags tags;
  if (root->kind == Value::Kind::kNull) return tags;
  if (root->kind != Value::Kind::kMap) {
    return fail(ErrorKind::kInvalid, root->place + ": wants tags like {\"role\": \"web\"}");
  }
  for (const ValueEntry& entry : root->entries) {
    const std::string& value = entry.value.text;
    if (!entry.value.is_scalar() || entry.key.empty() || value.find('\0') != std::string::npos ||
        entry.key.find('\0') != std::string::npos) {
      return fail(ErrorKind::kInvalid, entry.value.place + ": the tag " + quoted(entry.key) +
                                           " wants a name and a string");
    }
    tags[entry.key] = value;
  }
  if (auto checked = check_size(path, tags); !checked) return tl::unexpected(checked.error());
  return tags;
}

Result<void> save_tags_file(const std::string& path, const Tags& tags) {
  if (auto checked = check_size(path, tags); !checked) return checked;
  const std::string pattern = path + ".XXXXXX";
  std::vector<char> name(pattern.begin(), pattern.end());
  name.push_back('\0');
  const int file = mkostemp(name.data(), O_CLOEXEC);  // mode 0600
  if (file < 0) return system_error("cannot write next to", path);
  const bool written = write_all(file, to_json(tags));
  const bool replaced = written && rename(name.data(), path.c_str()) == 0;
  if (!replaced) {
    const int error = errno;
    unlink(name.data());
    close(file);
    errno = error;
    return system_error("cannot write", path);
  }
  close(file);
  if (!sync_folder_of(path)) return system_error("cannot sync the folder of", path);
  return {};
}

}  // namespace starling::agent
