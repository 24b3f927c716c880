// SPDX-License-Identifier: Apache-2.0
//
// Settles bind, advertise and interface, and the rule that without a cluster key only loopback is
// safe. Internal to agent/config.
#pragma once

#include "agent/config/keys.h"

namespace starling::agent::config {

/// Sets config.bind and config.advertise; config.keys is known by now. May resolve names.
Result<void> settle_network(Draft& draft, const Environment& environment);

}  // namespace starling::agent::config
