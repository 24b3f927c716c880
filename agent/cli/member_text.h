// SPDX-License-Identifier: Apache-2.0
//
// Small texts about members that several commands print. Pure functions.
#pragma once

#include <string>

#include "proto/control.pb.h"

namespace starling::agent {

/// "10.0.0.1:7946" or "[fe80::1]:7946"; a mapped IPv4 address shows as IPv4.
std::string endpoint_text(const control::Member& member);

/// "dc=x,role=web".
std::string tags_text(const control::Member& member);

}  // namespace starling::agent
