// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/text.h"

#include "test/catch.h"

namespace starling::simulation {
namespace {

TEST_CASE("times are read with their units") {
  CHECK(parse_duration("20s") == 20s);
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("250 ms") == 250ms);
  CHECK(parse_duration("1.5m") == 90s);
  CHECK(parse_duration("2h") == 2h);
  CHECK(parse_duration("10us") == 10us);
  CHECK(parse_duration("7ns") == Duration(7));
  CHECK(parse_duration("0.000000001s") == Duration(1));
  CHECK(parse_duration("0") == 0s);
  for (const char* wrong : {"", "20", "s", "-1s", "1e3s", "1..2s", "1.s", ".5s", "20 seconds",
                            "0.5ns", "99999999999999999s", "1.0000000001s"}) {
    INFO(wrong);
    CHECK_FALSE(parse_duration(wrong));
  }
}

TEST_CASE("what is written is read back exactly") {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const Duration duration(static_cast<int64_t>(random() >> (14 + random.below(50))));
    INFO(write_duration(duration));
    CHECK(parse_duration(write_duration(duration)) == duration);
    const double share = random.unit();
    INFO(write_share(share));
    CHECK(parse_share(write_share(share)) == share);
    const double number = random.unit() * 1e6;
    CHECK(parse_number(write_number(number)) == number);
  }
  CHECK(write_duration(90s) == "90s");
  CHECK(write_duration(120s) == "2m");
  CHECK(write_duration(1250ms) == "1.25s");
  CHECK(write_share(0.05) == "5%");
  CHECK(write_share(0) == "0%");
}

TEST_CASE("shares and sizes are read") {
  CHECK(parse_share("1%") == 0.01);
  CHECK(parse_share("0.25") == 0.25);
  CHECK(parse_share("100 %") == 1.0);
  CHECK_FALSE(parse_share("101%"));
  CHECK_FALSE(parse_share("-1%"));
  CHECK_FALSE(parse_share("5"));
  CHECK(parse_bytes("125M") == 125e6);
  CHECK(parse_bytes("1.5k") == 1500.0);
  CHECK_FALSE(parse_bytes("fast"));
}

TEST_CASE("members are shown and written in runs") {
  CHECK(show_nodes({3}) == "3");
  CHECK(show_nodes({4, 3}) == "3 and 4");
  CHECK(show_nodes({1, 4, 10, 11, 12}) == "1, 4 and 10 to 12");
  CHECK(show_nodes({0, 2, 4, 6, 8, 10, 12, 14, 16, 18}) ==
        "0, 2, 4, 6, 8, 10, 12, 14 and 2 others");
  CHECK(write_nodes({1, 4, 10, 11, 12}) == "[1, 4, 10..12]");
  CHECK(write_nodes({7, 3, 7}) == "[7, 3]");
}

TEST_CASE("people get rounded figures") {
  CHECK(show_duration(0s) == "0 s");
  CHECK(show_duration(870us) == "870 us");
  CHECK(show_duration(1250ms) == "1.25 s");
  CHECK(show_duration(45s) == "45.0 s");
  CHECK(show_duration(250s) == "4 min 10 s");
  CHECK(show_share(0.125) == "12.5 %");
  CHECK(show_share(0.8) == "80 %");
  CHECK(show_share(1) == "100 %");
  CHECK(show_bytes(1234) == "1.2 kB");
}

TEST_CASE("a wrong word finds the right one") {
  const std::vector<std::string> known = {"crash", "pause", "partition"};
  CHECK(did_you_mean("crsh", known) == "; did you mean 'crash'?");
  CHECK(did_you_mean("partitions", known) == "; did you mean 'partition'?");
  CHECK(did_you_mean("earthquake", known).empty());
}

}  // namespace
}  // namespace starling::simulation
