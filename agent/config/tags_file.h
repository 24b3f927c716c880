// SPDX-License-Identifier: Apache-2.0
//
// The tags file: a JSON object of strings that `starling tags` rewrites, as Serf's -tags-file.
// Blocking file access.
#pragma once

#include <map>
#include <string>

#include "proto/support/result.h"

namespace starling::agent {

using Tags = std::map<std::string, std::string>;

/// Tags from `path`. kNotFound when there is no such file; kInvalid with file:line:column when it
/// is not an object of scalars; kTooLarge over membership::kMaxTags.
Result<Tags> load_tags_file(const std::string& path);

/// Replaces the file at once or not at all (temporary file, fsync, rename, fsync of the folder),
/// readable by its owner only. On an error the old file is untouched.
Result<void> save_tags_file(const std::string& path, const Tags& tags);

/// Bytes that tags take where membership::kMaxTags bounds them.
size_t encoded_tags_size(const Tags& tags);

}  // namespace starling::agent
