// SPDX-License-Identifier: Apache-2.0
//
// The matrix of `starling reachability` for people. Pure.
#pragma once

#include <string>

#include "proto/control.pb.h"

namespace starling::agent {

/// The matrix and what is wrong, each finding on a line with "* " before it. Of more than 12
/// members and without `all`: a line that counts, and the ways that are not direct.
std::string reachability_text(const control::ReachabilityReply& reply, bool all, bool color);

}  // namespace starling::agent
