// SPDX-License-Identifier: Apache-2.0
//
// What an agent finds in its data directory. The first byte says which file the patches (see
// file_patch.h) are for: the database, which is opened, read and written to; the node's key; the
// epoch. A damaged database is put aside, and a new one works.
#include <cstdlib>
#include <string>
#include <vector>

#include "agent/store/database.h"
#include "agent/store/identity.h"
#include "test/fuzz/file_patch.h"
#include "test/fuzz/message_maker.h"

namespace {

using namespace starling::agent;  // NOLINT(google-build-using-namespace)
using starling::fuzz::Folder;
using starling::fuzz::patched;

constexpr int64_t kNow = 1'700'000'000;

Changes some_of_each() {
  KnownMember member;
  member.id.bytes.fill(3);
  member.name = "web1";
  member.address = *starling::membership::Address::parse("10.0.0.1:7946");
  member.seen = kNow;
  PutEvent event;
  event.id.origin.bytes.fill(4);
  event.record = "record";
  event.sent = kNow;
  PutPending pending;
  pending.event.id = event.id;
  pending.event.name = "deploy";
  starling::membership::Clocks clocks;
  Changes changes;
  changes.emplace_back(PutMember{member});
  changes.emplace_back(event);
  changes.emplace_back(pending);
  changes.emplace_back(PutQuery{event.id, kNow + 10});
  changes.emplace_back(clocks);
  changes.emplace_back(PutLiveTags{{{"role", "web"}, {"gone", std::nullopt}}});
  changes.emplace_back(PutLeft{false});
  return changes;
}

bool works(Database& database) {
  std::vector<starling::Result<void>> outcomes;
  const std::vector<Changes> batch = {some_of_each()};
  return database.commit(batch, kNow, outcomes).has_value();
}

const Folder& folder() {
  static const Folder kFolder;
  return kFolder;
}

/// A whole database, as its bytes.
std::string whole_database() {
  std::vector<std::string> notes;
  const std::string path = folder().path("whole.db");
  {
    auto database = Database::open(path, {}, notes);
    if (!database || !works(**database)) std::abort();
  }
  return Folder::read(path);
}

void open_database(const std::string& bytes) {
  const std::string path = folder().path("state.db");
  for (const auto& entry : std::filesystem::directory_iterator(folder().path())) {
    if (entry.path().filename().string().starts_with("state.db")) {
      std::filesystem::remove(entry.path());
    }
  }
  Folder::write(path, bytes);
  std::vector<std::string> notes;
  auto database = Database::open(path, {}, notes);
  if (!database) return;  // of a newer version, or not to be read
  const bool whole = (*database)->load(kNow).has_value();
  const bool written = works(**database);
  static_cast<void>((*database)->jobs({}));
  static_cast<void>((*database)->prune_jobs({}, kNow * 1000));
  if (!notes.empty() && !(whole && written)) std::abort();  // a new one works
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  starling::fuzz::silence_protobuf();
  static const std::string database = whole_database();
  if (size == 0) return 0;
  const std::string_view patches(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 4 == 1) {
    Folder::write(folder().path("node.key"), patches);
    static_cast<void>(load_node_key(folder().path()));
  } else if (data[0] % 4 == 2) {
    Folder::write(folder().path("epoch"), patches);
    const auto epoch = next_epoch(folder().path(), kNow);
    if (epoch && *epoch < kNow) std::abort();
  } else {
    open_database(patched(database, patches));
  }
  return 0;
}
