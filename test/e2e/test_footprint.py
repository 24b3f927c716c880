# SPDX-License-Identifier: Apache-2.0
"""What an agent costs that has nothing to do: memory, and how often it wakes."""

import os
import shutil
import signal
import time
import unittest

import harness
from harness import Case, takes, wait_for

PROBE_INTERVAL = 1.0  # of -profile lan, seconds
MEMORY_KIB = 4 << 10


def pss_kib(agent):
    with open(f"/proc/{agent.process.pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    raise AssertionError(f"{agent.name} has no memory")


def wake_ups(agent):
    """How often its threads have waited for something, and been woken."""
    total = 0
    tasks = f"/proc/{agent.process.pid}/task"
    for thread in os.listdir(tasks):
        with open(f"{tasks}/{thread}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file
                         if line.startswith("voluntary_ctxt_switches"))
    return total


@unittest.skipUnless(harness.SCALE == 1, "sanitizers have memory and threads of their own")
class Footprint(Case):
    @harness.needs_root  # an agent's memory is shown to root only: it is not dumpable
    def test_memory_alone(self):
        alpha = self.agent("alpha")
        # Others that run the same file would share its pages.
        alpha.command[0] = shutil.copy(harness.BINARY, self.folder)
        alpha.start()

        def small():
            size = pss_kib(alpha)
            assert size <= MEMORY_KIB, f"{size} KiB"
            return True
        wait_for(small, f"at most {MEMORY_KIB} KiB")
        alpha.signal(signal.SIGHUP)
        wait_for(lambda: alpha.log().count("reloading the configuration") == 1, "a reload")
        # What was given back comes again when it is needed.
        alpha.cli("event", "hello")
        alpha.cli("tags", "-set", "role=web")
        self.assertEqual(alpha.member("alpha")["tags"]["role"], "web")
        wait_for(small, f"at most {MEMORY_KIB} KiB, after a reload")

    @takes(60)
    def test_wake_ups_alone(self):
        alpha = self.agent("alpha", profile="lan").start()

        def calm():
            before, began = wake_ups(alpha), time.monotonic()
            time.sleep(5 * PROBE_INTERVAL)
            rounds = (time.monotonic() - began) / PROBE_INTERVAL
            woken = wake_ups(alpha) - before
            # It has nobody to probe; what it writes down once a minute may fall into this time.
            assert woken <= rounds / 2, f"{woken} wake-ups in {rounds:.1f} probe intervals"
            return True
        wait_for(calm, "hardly any wake-up", 40)


if __name__ == "__main__":
    harness.main()
