// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/member_table.h"

#include <algorithm>

#include "membership/planted_bug.h"
#include "proto/support/assert.h"

namespace starling::membership {

namespace {

uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a, then mixed: the same on every machine
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix64(hash);
}

bool ring_before(const RingEntry& a, const RingEntry& b) {
  return a.position != b.position ? a.position < b.position : a.entry->id < b.entry->id;
}

bool counts_as_up(Status status) {
  return status == Status::kAlive || status == Status::kSuspect;
}

}  // namespace

std::string Entry::display_name() const {
  return displaced ? name + "#" + id.to_string().substr(0, 8) : name;
}

uint64_t MemberTable::ring_position(const NodeId& id, std::string_view zone) {
  const uint64_t zone_part = zone.empty() ? 0 : hash_text(zone) & 0xffff;
  // The last position is kept free, so that [0, 2^64 - 1) holds every member.
  return std::min(zone_part << 48 | id.hash() >> 16, UINT64_MAX - 1);
}

Entry* MemberTable::find(const NodeId& id) {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

const Entry* MemberTable::find(const NodeId& id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

const std::vector<Entry*>& MemberTable::claimants(const std::string& name) const {
  static const std::vector<Entry*> kNone;
  const auto found = names_.find(name);
  return found == names_.end() ? kNone : found->second;
}

Entry* MemberTable::find_name(std::string_view name) {
  const std::string wanted(name);
  for (Entry* entry : claimants(wanted)) {
    if (!entry->displaced) return entry;
  }
  const size_t mark = wanted.rfind('#');
  if (mark == std::string::npos) return nullptr;
  for (Entry* entry : claimants(wanted.substr(0, mark))) {
    if (entry->displaced && entry->display_name() == wanted) return entry;
  }
  return nullptr;
}

Entry* MemberTable::find_address(const Address& address, const NodeId& except) {
  for (const RingEntry& place : ring_) {
    if (place.entry->address == address && place.entry->id != except) return place.entry;
  }
  return nullptr;
}

Entry& MemberTable::add(const NodeId& id, const std::string& name, Random& random) {
  const auto [place, added] = entries_.try_emplace(id);
  STARLING_ASSERT(added);
  Entry& entry = place->second;
  entry.id = id;
  entry.name = name;
  entry.status = Status::kLeft;  // on no list until set_state() says more
  entry.position = ring_position(id, {});
  names_[name].push_back(&entry);
  // After the cursor or before it with equal chance per place: the wait for its first probe is as
  // long as anyone's.
  const size_t place_in_order = random.below(probe_order_.size() + 1);
  probe_order_.insert(probe_order_.begin() + static_cast<std::ptrdiff_t>(place_in_order), id);
  if (place_in_order < probe_cursor_) ++probe_cursor_;
  return entry;
}

void MemberTable::erase(const NodeId& id) {
  Entry* entry = find(id);
  STARLING_ASSERT(entry != nullptr);
  set_state(*entry, Status::kLeft, entry->incarnation);
  rename(*entry, "");
  entries_.erase(id);  // its place in the probe order goes at the next reshuffle
}

void MemberTable::rename(Entry& entry, const std::string& name) {
  const auto found = names_.find(entry.name);
  STARLING_ASSERT(found != names_.end());
  std::erase(found->second, &entry);
  if (found->second.empty()) names_.erase(found);
  entry.name = name;
  if (!name.empty()) names_[name].push_back(&entry);
}

void MemberTable::set_state(Entry& entry, Status status, Incarnation incarnation) {
  const bool was_up = entry.up();
  if (was_up && !planted(PlantedBug::kFingerprintNotToggled)) toggle_fingerprint(entry);
  if (entry.status == Status::kFailed && status != Status::kFailed) unlist_failed(entry.id);
  if (entry.status != Status::kFailed && status == Status::kFailed) failed_.push_back(entry.id);
  const bool is_up = counts_as_up(status);
  if (was_up && !is_up) ring_remove(entry);
  entry.status = status;
  entry.incarnation = incarnation;
  if (is_up && !was_up) ring_insert(entry);
  if (is_up) toggle_fingerprint(entry);
}

void MemberTable::set_zone(Entry& entry, std::string_view zone) {
  const uint64_t position = ring_position(entry.id, zone);
  if (position == entry.position) return;
  if (entry.up()) ring_remove(entry);
  entry.position = position;
  if (entry.up()) ring_insert(entry);
}

std::vector<const Entry*> MemberTable::all() const {
  std::vector<const Entry*> list;
  list.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) list.push_back(&entry);
  std::sort(list.begin(), list.end(), [](const Entry* a, const Entry* b) { return a->id < b->id; });
  return list;
}

std::vector<const Entry*> MemberTable::bucket(uint8_t number) const {
  std::vector<const Entry*> list;
  for (const auto& [id, entry] : entries_) {
    if (bucket_of(id) == number) list.push_back(&entry);
  }
  std::sort(list.begin(), list.end(), [](const Entry* a, const Entry* b) { return a->id < b->id; });
  return list;
}

Entry* MemberTable::next_probe_target(Random& random) {
  if (ring_.empty()) return nullptr;
  for (size_t tried = 0; tried <= 2 * probe_order_.size() + 1; ++tried) {
    if (probe_cursor_ >= probe_order_.size()) {
      std::erase_if(probe_order_, [this](const NodeId& id) { return find(id) == nullptr; });
      // A member that was erased and learned again may stand here twice.
      std::sort(probe_order_.begin(), probe_order_.end());
      probe_order_.erase(std::unique(probe_order_.begin(), probe_order_.end()), probe_order_.end());
      random.shuffle(std::span(probe_order_));
      probe_cursor_ = 0;
    }
    Entry* entry = find(probe_order_[probe_cursor_++]);
    if (entry != nullptr && entry->up()) return entry;
  }
  return nullptr;
}

std::vector<Entry*> MemberTable::random_up(size_t count, Random& random,
                                           const std::function<bool(const Entry&)>& accept) const {
  std::vector<Entry*> chosen;
  if (ring_.empty()) return chosen;
  if (count * 4 < ring_.size()) {  // few of many: draw instead of copying the list
    for (size_t tries = 0; tries < 8 * count && chosen.size() < count; ++tries) {
      Entry* entry = ring_[random.below(ring_.size())].entry;
      const bool again = std::find(chosen.begin(), chosen.end(), entry) != chosen.end();
      if (!again && accept(*entry)) chosen.push_back(entry);
    }
    return chosen;
  }
  for (const RingEntry& place : ring_) {
    if (accept(*place.entry)) chosen.push_back(place.entry);
  }
  return random.sample(std::move(chosen), count);
}

uint64_t MemberTable::fingerprint_of(const NodeId& id, Incarnation incarnation) {
  return mix64(id.hash() ^ mix64(incarnation.value));
}

void MemberTable::toggle_fingerprint(const Entry& entry) {
  const uint64_t print = fingerprint_of(entry.id, entry.incarnation);
  fingerprint_ ^= print;
  buckets_[bucket_of(entry.id)] ^= print;
}

void MemberTable::ring_insert(Entry& entry) {
  const RingEntry place{entry.position, &entry};
  ring_.insert(std::lower_bound(ring_.begin(), ring_.end(), place, ring_before), place);
}

void MemberTable::ring_remove(const Entry& entry) {
  const auto found = std::find_if(
      std::lower_bound(
          ring_.begin(), ring_.end(), entry.position,
          [](const RingEntry& place, uint64_t position) { return place.position < position; }),
      ring_.end(), [&](const RingEntry& place) { return place.entry == &entry; });
  STARLING_ASSERT(found != ring_.end());
  ring_.erase(found);
}

void MemberTable::unlist_failed(const NodeId& id) {
  std::erase(failed_, id);
}

}  // namespace starling::membership
