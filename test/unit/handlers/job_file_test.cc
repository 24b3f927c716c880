// SPDX-License-Identifier: Apache-2.0
#include "handlers/job_file.h"

#include "test/catch.h"
#include "test/unit/handlers/loop.h"

using starling::ErrorKind;
using starling::handlers::Begun;
using starling::handlers::boot_id;
using starling::handlers::Ended;
using starling::handlers::Evidence;
using starling::handlers::examine;
using starling::handlers::JobFile;
using starling::handlers::LogPiece;
using starling::handlers::ProcessEnding;
using starling::handlers::start_time_of;
using starling::handlers::TempDir;

namespace {

Begun begun_here() {
  return {boot_id(), ::getpid(), start_time_of(::getpid()), 1234};
}

}  // namespace

TEST_CASE("a job's file tells what its supervisor wrote") {
  const TempDir dir;
  const std::string path = dir.file("1");
  auto file = JobFile::create(path, 4096);
  REQUIRE(file);
  CHECK_FALSE(file->begun());
  CHECK_FALSE(file->ended());
  REQUIRE(file->begin(begun_here()));
  file->set_command(42);
  CHECK(file->append("some output\n"));
  REQUIRE(file->end({ProcessEnding::kNotStarted, 3, 99, 1500, 0, 0, "no such\nfile"}));
  const auto reader = JobFile::open(path);
  REQUIRE(reader);
  CHECK(reader->begun()->boot == boot_id());
  CHECK(reader->begun()->pid == ::getpid());
  CHECK(reader->begun()->start_time == start_time_of(::getpid()));
  CHECK(reader->begun()->at_ms == 1234);
  CHECK(reader->command() == 42);
  const auto ended = reader->ended();
  REQUIRE(ended);
  CHECK(ended->ending == ProcessEnding::kNotStarted);
  CHECK(ended->status == 3);
  CHECK(ended->duration_us == 1500);
  CHECK(ended->output_bytes == 12);
  CHECK(ended->lost_bytes == 0);
  CHECK(ended->error == "no such file");
  CHECK(reader->read(0, 100).bytes == "some output\n");
}

TEST_CASE("a job's file is made once") {
  const TempDir dir;
  REQUIRE(JobFile::create(dir.file("1"), 4096));
  const auto again = JobFile::create(dir.file("1"), 4096);
  REQUIRE_FALSE(again);
  CHECK(again.error().kind == ErrorKind::kConflict);
  CHECK(JobFile::create(dir.file("none/1"), 4096).error().kind == ErrorKind::kUnavailable);
  dir.touch("other");
  CHECK(JobFile::open(dir.file("other")).error().kind == ErrorKind::kInvalid);
  CHECK(JobFile::open(dir.file("absent")).error().kind == ErrorKind::kNotFound);
}

TEST_CASE("a log keeps its last bytes") {
  const TempDir dir;
  auto file = JobFile::create(dir.file("1"), 1024);
  REQUIRE(file);
  std::string all;
  for (int i = 0; i < 700; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    all += line;
    file->append(line);
    const LogPiece kept = file->read(0, 1 << 20);
    CHECK(kept.total == all.size());
    CHECK(kept.bytes == all.substr(all.size() > 1024 ? all.size() - 1024 : 0));
    CHECK(kept.offset + kept.bytes.size() == all.size());
  }
  const std::string large(5000, 'x');
  file->append(large + "the end");
  CHECK(file->read(0, 1 << 20).bytes == std::string(1017, 'x') + "the end");
  CHECK(file->read(all.size() + 5000, 100).bytes == "the end");
  CHECK(file->read(all.size() + 5000, 3).bytes == "the");
  CHECK(file->read(1 << 30, 100).bytes.empty());
}

TEST_CASE("a torn record counts as none") {
  const TempDir dir;
  const std::string path = dir.file("1");
  {
    auto file = JobFile::create(path, 4096);
    REQUIRE(file);
    REQUIRE(file->begin(begun_here()));
    REQUIRE(file->end({}));
  }
  CHECK(examine(path) == Evidence::kEnded);
  std::fstream torn(path, std::ios::in | std::ios::out | std::ios::binary);
  torn.seekp(580);
  torn.put('9');
  torn.close();
  CHECK(examine(path) == Evidence::kInterrupted);
}

TEST_CASE("the lock tells whether a supervisor lives") {
  const TempDir dir;
  const std::string path = dir.file("1");
  CHECK(examine(path) == Evidence::kNeverBegan);
  {
    auto file = JobFile::create(path, 4096);
    REQUIRE(file);
    CHECK(examine(path) == Evidence::kStarting);
    REQUIRE(file->begin(begun_here()));
    CHECK(examine(path) == Evidence::kRunning);
  }
  CHECK(examine(path) == Evidence::kInterrupted);
  const std::string other = dir.file("2");
  static_cast<void>(JobFile::create(other, 4096));
  CHECK(examine(other) == Evidence::kNeverBegan);
}

TEST_CASE("a process is known by its start") {
  CHECK(start_time_of(::getpid()) > 0);
  CHECK(start_time_of(999'999'999) == 0);
  CHECK(boot_id().size() == 36);
}
