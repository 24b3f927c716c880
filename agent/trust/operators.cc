// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/operators.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace starling::agent {

Operators::Operators(std::vector<NamedKey> configured, const std::vector<StoredOperator>& stored)
    : configured_(std::move(configured)) {
  for (const StoredOperator& each : stored) {
    if (const auto key = OperatorKey::from_wire(each.key)) stored_[*key] = each;
  }
  rebuild();
}

void Operators::reconfigure(std::vector<NamedKey> configured) {
  configured_ = std::move(configured);
  rebuild();
}

void Operators::rebuild() {
  trusted_.clear();
  std::set<std::string> names;
  for (const NamedKey& named : configured_) {
    const auto stored = stored_.find(named.key);
    if (stored != stored_.end() && stored->second.revoked) continue;
    trusted_[named.key] = named.name;
    names.insert(named.name);
  }
  for (const auto& [key, stored] : stored_) {
    if (stored.revoked || trusted_.contains(key) || names.contains(stored.name)) continue;
    trusted_[key] = stored.name;
  }
}

const std::string* Operators::name_of(const OperatorKey& key) const {
  const auto found = trusted_.find(key);
  return found == trusted_.end() ? nullptr : &found->second;
}

size_t Operators::trusted() const {
  return trusted_.size();
}

std::vector<Operators::Entry> Operators::list() const {
  std::map<OperatorKey, Entry> entries;
  for (const auto& [key, stored] : stored_) {
    entries[key] = {{key, stored.name}, false, stored.revoked, stored.since_ms};
  }
  for (const NamedKey& named : configured_) {
    Entry& entry = entries[named.key];
    entry.named = named;
    entry.configured = true;
  }
  std::vector<Entry> list;
  list.reserve(entries.size());
  for (auto& [key, entry] : entries) list.push_back(std::move(entry));
  std::ranges::sort(list, [](const Entry& a, const Entry& b) {
    return std::tie(a.named.name, a.named.key) < std::tie(b.named.name, b.named.key);
  });
  return list;
}

Result<StoredOperator> Operators::keep(StoredOperator changed) {
  const auto key = OperatorKey::from_wire(changed.key);
  if (!stored_.contains(*key) && stored_.size() >= kMaxStored) {
    return fail(ErrorKind::kTooLarge, "this agent remembers " + std::to_string(kMaxStored) +
                                          " operators that were trusted or revoked, which is the "
                                          "limit");
  }
  stored_[*key] = changed;
  rebuild();
  return changed;
}

Result<StoredOperator> Operators::trust(const NamedKey& named, int64_t now_ms) {
  for (const auto& [key, name] : trusted_) {
    if (name != named.name || key == named.key) continue;
    return fail(ErrorKind::kConflict, named.name + " is the name of another key, " + key.id() +
                                          ": revoke that first, or give this one another name");
  }
  return keep({std::string(named.key.wire()), named.name, false, now_ms});
}

Result<StoredOperator> Operators::revoke(const std::string& who, int64_t now_ms) {
  if (const auto named = NamedKey::parse(who)) {
    return keep({std::string(named->key.wire()), named->name, true, now_ms});
  }
  for (const Entry& entry : list()) {
    const bool meant = entry.named.name == who || entry.named.key.id() == who;
    if (!meant || entry.revoked) continue;
    return keep({std::string(entry.named.key.wire()), entry.named.name, true, now_ms});
  }
  return fail(ErrorKind::kNotFound,
              "this agent trusts no operator \"" + who + "\"; see: starling operator list");
}

}  // namespace starling::agent
