// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

namespace starling::simulation {

/// Sorts by `key(item)`; items of equal keys keep their order.
template <typename T, typename Key>
void sort_by(std::vector<T>& items, const Key& key) {
  using Place = std::pair<decltype(key(items.front())), size_t>;
  std::vector<Place> places;
  places.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) places.emplace_back(key(items[i]), i);
  std::sort(places.begin(), places.end());
  std::vector<T> sorted;
  sorted.reserve(items.size());
  for (const Place& place : places) sorted.push_back(std::move(items[place.second]));
  items = std::move(sorted);
}

}  // namespace starling::simulation
