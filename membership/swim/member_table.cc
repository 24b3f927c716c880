// SPDX-License-Identifier: Apache-2.0
#include "membership/swim/member_table.h"

#include <algorithm>

#include "membership/planted_bug.h"
#include "proto/support/assert.h"

namespace starling::membership {

namespace {

constexpr size_t kFewNewcomers = 32;

bool counts_as_up(Status status) {
  return status == Status::kAlive || status == Status::kSuspect;
}

}  // namespace

std::string Entry::display_name() const {
  return displaced ? name() + "#" + id().to_string().substr(0, 8) : name();
}

MemberTable::MemberTable(std::shared_ptr<DescriptionPool> pool)
    : pool_(pool ? std::move(pool) : std::make_shared<DescriptionPool>()) {}

uint64_t MemberTable::ring_position(const NodeId& id, std::string_view zone) {
  const uint64_t zone_part = zone.empty() ? 0 : hash_text(zone) & 0xffff;
  // The last position is kept free, so that [0, 2^64 - 1) holds every member.
  return std::min(zone_part << 48 | id.hash() >> 16, UINT64_MAX - 1);
}

// --- finding -----------------------------------------------------------------------------------

auto MemberTable::id_hash() const {
  return [this](uint32_t slot) { return at(slot).id().hash(); };
}
auto MemberTable::name_hash() const {
  return [this](uint32_t slot) { return at(slot).description->name_hash; };
}
auto MemberTable::address_hash() const {
  return [this](uint32_t slot) { return at(slot).description->address_hash; };
}

Entry* MemberTable::find(const NodeId& id) {
  Entry* found = nullptr;
  ids_.visit(id.hash(), [&](uint32_t slot) {
    Entry& entry = at(slot);
    if (entry.id() == id) found = &entry;
    return found != nullptr;
  });
  return found;
}

const Entry* MemberTable::find(const NodeId& id) const {
  return const_cast<MemberTable*>(this)->find(id);
}

std::vector<Entry*> MemberTable::claimants(std::string_view name) {
  std::vector<Entry*> found;
  names_.visit(hash_text(name), [&](uint32_t slot) {
    if (at(slot).name() == name) found.push_back(&at(slot));
    return false;
  });
  return found;
}

Entry* MemberTable::find_name(std::string_view name) {
  for (Entry* entry : claimants(name)) {
    if (!entry->displaced) return entry;
  }
  const size_t mark = name.rfind('#');
  if (mark == std::string_view::npos) return nullptr;
  for (Entry* entry : claimants(name.substr(0, mark))) {
    if (entry->displaced && entry->display_name() == name) return entry;
  }
  return nullptr;
}

Entry* MemberTable::find_address(const Address& address, const NodeId& except) {
  Entry* found = nullptr;
  addresses_.visit(std::hash<Address>()(address), [&](uint32_t slot) {
    Entry& entry = at(slot);
    if (entry.up() && entry.address() == address && entry.id() != except) found = &entry;
    return found != nullptr;
  });
  return found;
}

template <typename Visit>
void MemberTable::each(const Visit& visit) const {
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    Entry& entry = at(slot);
    if (entry.description) visit(entry);
  }
}

std::vector<const Entry*> MemberTable::all() const {
  std::vector<const Entry*> list;
  list.reserve(size());
  each([&](const Entry& entry) { list.push_back(&entry); });
  return list;
}

// --- changing ----------------------------------------------------------------------------------

uint32_t MemberTable::take_slot() {
  if (!free_.empty()) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  if (slots_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<Chunk>());
  return slots_++;
}

void MemberTable::index(const Entry& entry) {
  names_.insert(entry.slot, entry.description->name_hash, name_hash());
  addresses_.insert(entry.slot, entry.description->address_hash, address_hash());
}

void MemberTable::unindex(const Entry& entry) {
  names_.erase(entry.slot, entry.description->name_hash, name_hash());
  addresses_.erase(entry.slot, entry.description->address_hash, address_hash());
}

Entry& MemberTable::add(Description description, Random& random) {
  STARLING_ASSERT(find(description.id) == nullptr);
  const uint32_t slot = take_slot();
  Entry& entry = at(slot);
  entry.slot = slot;
  entry.description = pool_->intern(std::move(description));
  ids_.insert(slot, entry.id().hash(), id_hash());
  index(entry);
  // Anywhere in what is left of this round: the wait for its first probe is as long as anyone's.
  probe_order_.push_back(slot);
  const size_t place = probe_cursor_ + random.below(probe_order_.size() - probe_cursor_);
  std::swap(probe_order_[place], probe_order_.back());
  return entry;
}

void MemberTable::erase(const NodeId& id) {
  Entry* entry = find(id);
  STARLING_ASSERT(entry != nullptr);
  set_state(*entry, Status::kLeft, entry->incarnation);
  unindex(*entry);
  ids_.erase(entry->slot, id.hash(), id_hash());
  const uint32_t slot = entry->slot;
  *entry = Entry();  // its place in the probe order goes at the next reshuffle
  free_.push_back(slot);
}

bool MemberTable::describe(Entry& entry, Description description) {
  STARLING_ASSERT(entry.id() == description.id);
  const Description& old = entry.description->value;
  if (old == description) return false;
  const bool seen = old.name != description.name || old.address != description.address ||
                    old.tags != description.tags;
  if (!seen) {  // and so the same on every index
    entry.description = pool_->intern(std::move(description));
    return false;
  }
  if (old.address != description.address) entry.srtt_us = entry.rttvar_us = 0;
  if (entry.up()) ring_remove(entry);
  unindex(entry);
  entry.description = pool_->intern(std::move(description));
  index(entry);
  if (entry.up()) ring_.push_back(entry.slot);
  return true;
}

void MemberTable::set_state(Entry& entry, Status status, Incarnation incarnation) {
  const bool was_up = entry.up();
  if (was_up && !planted(PlantedBug::kFingerprintNotToggled)) toggle_fingerprint(entry);
  if (entry.status == Status::kFailed && status != Status::kFailed) {
    std::erase(failed_, entry.slot);
  }
  if (entry.status != Status::kFailed && status == Status::kFailed) failed_.push_back(entry.slot);
  const bool is_up = counts_as_up(status);
  if (was_up && !is_up) {
    ring_remove(entry);
    --up_count_;
  }
  entry.status = status;
  entry.incarnation = incarnation;
  if (is_up && !was_up) {
    ring_.push_back(entry.slot);
    ++up_count_;
  }
  if (is_up) toggle_fingerprint(entry);
}

// --- the ring ----------------------------------------------------------------------------------

bool MemberTable::ring_before(uint32_t a, uint32_t b) const {
  const Entry& left = at(a);
  const Entry& right = at(b);
  return left.position() != right.position() ? left.position() < right.position()
                                             : left.id() < right.id();
}

void MemberTable::sort_ring() const {
  if (sorted_ == ring_.size()) return;
  const auto before = [this](uint32_t a, uint32_t b) { return ring_before(a, b); };
  const auto middle = ring_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  std::sort(middle, ring_.end(), before);
  const std::vector<uint32_t> added(middle, ring_.end());
  if (added.size() * kFewNewcomers < sorted_) {
    // Few among many: finding each place looks at far fewer entries than a merge.
    ring_.resize(sorted_);
    for (const uint32_t slot : added) {
      ring_.insert(std::upper_bound(ring_.begin(), ring_.end(), slot, before), slot);
    }
  } else {
    std::vector<uint32_t> merged(ring_.size());
    std::merge(ring_.begin(), middle, middle, ring_.end(), merged.begin(), before);
    ring_ = std::move(merged);
  }
  sorted_ = ring_.size();
}

size_t MemberTable::ring_place(uint64_t position) const {
  sort_ring();
  const auto place = std::lower_bound(
      ring_.begin(), ring_.end(), position,
      [this](uint32_t slot, uint64_t wanted) { return at(slot).position() < wanted; });
  return static_cast<size_t>(place - ring_.begin());
}

void MemberTable::ring_remove(const Entry& entry) {
  sort_ring();
  const auto place = std::lower_bound(
      ring_.begin(), ring_.end(), entry.slot,
      [this](uint32_t slot, uint32_t wanted) { return ring_before(slot, wanted); });
  STARLING_ASSERT(place != ring_.end() && *place == entry.slot);
  ring_.erase(place);
  sorted_ = ring_.size();
}

// --- choosing ----------------------------------------------------------------------------------

void MemberTable::reshuffle(Random& random) {
  probe_order_.clear();
  each([&](const Entry& entry) { probe_order_.push_back(entry.slot); });
  random.shuffle(std::span(probe_order_));
  probe_cursor_ = 0;
}

Entry* MemberTable::next_probe_target(Random& random) {
  if (up_count_ == 0) return nullptr;
  for (size_t tried = 0; tried <= 2 * probe_order_.size() + 1; ++tried) {
    if (probe_cursor_ >= probe_order_.size()) reshuffle(random);
    Entry& entry = at(probe_order_[probe_cursor_++]);
    if (entry.up()) return &entry;
  }
  return nullptr;
}

std::vector<Entry*> MemberTable::random_up(size_t count, Random& random,
                                           const std::function<bool(const Entry&)>& accept) const {
  std::vector<Entry*> chosen;
  if (ring_.empty()) return chosen;
  if (count * 4 < ring_.size()) {  // few of many: draw instead of copying the list
    for (size_t tries = 0; tries < 8 * count && chosen.size() < count; ++tries) {
      Entry* entry = &at(ring_[random.below(ring_.size())]);
      const bool again = std::find(chosen.begin(), chosen.end(), entry) != chosen.end();
      if (!again && accept(*entry)) chosen.push_back(entry);
    }
    return chosen;
  }
  for (const uint32_t slot : ring_) {
    if (accept(at(slot))) chosen.push_back(&at(slot));
  }
  return random.sample(std::move(chosen), count);
}

// --- fingerprint -------------------------------------------------------------------------------

uint64_t MemberTable::fingerprint_of(const NodeId& id, Incarnation incarnation) {
  return mix64(id.hash() ^ mix64(incarnation.value));
}

void MemberTable::toggle_fingerprint(const Entry& entry) {
  const uint64_t print = fingerprint_of(entry.id(), entry.incarnation);
  fingerprint_ ^= print;
  buckets_[bucket_of(entry.id())] ^= print;
}

bool MemberTable::consistent() const {
  std::array<uint64_t, kBuckets> buckets{};
  size_t up = 0;
  size_t failed = 0;
  size_t all = 0;
  bool found = true;
  std::vector<bool> ordered(slots_);
  for (const uint32_t slot : probe_order_) ordered[slot] = true;
  auto* table = const_cast<MemberTable*>(this);
  each([&](const Entry& entry) {
    ++all;
    up += entry.up() ? 1 : 0;
    failed += entry.status == Status::kFailed ? 1 : 0;
    if (entry.up()) {
      buckets[bucket_of(entry.id())] ^= fingerprint_of(entry.id(), entry.incarnation);
    }
    const std::vector<Entry*> named = table->claimants(entry.name());
    found = found && find(entry.id()) == &entry &&
            std::find(named.begin(), named.end(), &entry) != named.end() && ordered[entry.slot];
  });
  uint64_t fingerprint = 0;
  for (const uint64_t bucket : buckets) fingerprint ^= bucket;
  sort_ring();
  const bool ring =
      std::is_sorted(ring_.begin(), ring_.end(),
                     [this](uint32_t a, uint32_t b) { return ring_before(a, b); }) &&
      std::all_of(ring_.begin(), ring_.end(), [this](uint32_t slot) { return at(slot).up(); });
  return found && ring && all == size() && up == up_count_ && up == ring_.size() &&
         failed == failed_.size() && buckets == buckets_ && fingerprint == fingerprint_;
}

}  // namespace starling::membership
