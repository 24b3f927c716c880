// SPDX-License-Identifier: Apache-2.0
//
// STARLING_ASSERT: our own invariants, checked in every build. Never for input from outside, which
// is handled and counted.
#pragma once

#include <cstdio>
#include <cstdlib>

#define STARLING_ASSERT(condition)                                                           \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
