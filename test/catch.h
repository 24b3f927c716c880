// SPDX-License-Identifier: Apache-2.0
//
// Catch2 2 (Debian 12) and 3 under one name. Keep to what both have: TEST_CASE, SECTION, CHECK,
// REQUIRE, CHECK_THROWS_AS, GENERATE, INFO, CAPTURE.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
