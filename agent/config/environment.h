// SPDX-License-Identifier: Apache-2.0
//
// What configuration takes from the host: injected, so that tests decide it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "membership/address.h"

namespace starling::agent {

/// One address of a network interface that is up. The port is 0.
struct InterfaceAddress {
  std::string interface;
  membership::Address address;
};

struct Environment {
  /// As getenv(); none when unset. An empty function means that nothing is set.
  std::function<std::optional<std::string>(const std::string& name)> variable;
  std::string hostname;
  /// Effective user id; 0 is root.
  uint32_t uid = 0;
  /// Addresses of the host's interfaces in the system's order. An empty function means none.
  std::function<std::vector<InterfaceAddress>()> interfaces;

  /// None when unset or empty.
  [[nodiscard]] std::optional<std::string> get(const std::string& name) const;

  /// This process's own.
  static Environment of_process();
};

}  // namespace starling::agent
