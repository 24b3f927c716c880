// SPDX-License-Identifier: Apache-2.0
//
// What an agent that starts again finds of a job: its file with the records of begin and end and
// the ring of its log, damaged by the patches of the input (see file_patch.h). Whatever it says is
// within its bounds; no process is touched.
#include <cstdlib>
#include <string>

#include "handlers/job_file.h"
#include "handlers/process.h"
#include "test/fuzz/file_patch.h"

namespace {

using namespace starling::handlers;  // NOLINT(google-build-using-namespace)
using starling::fuzz::Folder;

constexpr size_t kLog = kMinLog;

const Folder& folder() {
  static const Folder kFolder;
  return kFolder;
}

/// The file of a run that printed more than is kept, and ended.
std::string whole_file() {
  const std::string path = folder().path("whole");
  auto file = JobFile::create(path, kLog);
  if (!file) std::abort();
  if (!file->begin({.boot = boot_id(), .pid = 1, .start_time = 1, .at_ms = 1})) std::abort();
  file->set_command(1);
  if (!file->append(std::string(3 * kLog + 7, 'x'))) std::abort();
  Ended ended;
  ended.ending = ProcessEnding::kExited;
  ended.error = "an error";
  if (!file->end(ended)) std::abort();
  return Folder::read(path);
}

void read_all(const JobFile& file) {
  constexpr size_t kPiece = 333;
  static_cast<void>(file.begun());
  static_cast<void>(file.command());
  const uint64_t total = file.total();
  for (const uint64_t offset : {uint64_t{0}, total / 2, total, total + 1, UINT64_MAX}) {
    const LogPiece piece = file.read(offset, kPiece);
    if (piece.bytes.size() > kPiece) std::abort();
  }
  uint64_t at = 0;
  for (int pieces = 0; pieces < 100; ++pieces) {  // as `job log` does
    const LogPiece piece = file.read(at, kPiece);
    if (piece.bytes.empty()) break;
    if (piece.offset < at) std::abort();
    at = piece.offset + piece.bytes.size();
  }
  if (const auto ended = file.ended()) {
    const ProcessResult result = result_of(file, *ended, 100);
    if (result.tail.size() > 100 || result.error.size() > 200) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string whole = whole_file();
  const std::string_view patches(reinterpret_cast<const char*>(data), size);
  const std::string path = folder().path("job");
  Folder::write(path, starling::fuzz::patched(whole, patches));
  static_cast<void>(examine(path));
  if (const auto file = JobFile::open(path)) read_all(*file);
  return 0;
}
