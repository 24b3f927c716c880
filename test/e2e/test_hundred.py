# SPDX-License-Identifier: Apache-2.0
"""A hundred agents on one host form one cluster and stay quiet. STARLING_QUIET_SECONDS: how long."""

import os
import resource
import time

import harness
from harness import Case, takes, timed, wait_for

COUNT = 100


class Hundred(Case):
    def start_hundred(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(
            resource.RLIMIT_NOFILE)[1]))
        first = self.agent("node000", profile="lan").start()
        agents = [first]
        for number in range(1, COUNT):
            agents.append(self.agent(f"node{number:03}", profile="lan",
                                     join=[first.endpoint]).launch())
        for agent in agents:
            agent.ready()
        started = time.monotonic()
        for agent in agents:
            wait_for(lambda agent=agent: list(agent.members().values()) == ["alive"] * COUNT,
                     f"{agent.name} sees {COUNT} alive", 90)
        print(f"formed {time.monotonic() - started:.1f} s after the last one was up")
        return agents

    def processor_seconds(self, agents):
        ticks = 0
        for agent in agents:
            with open(f"/proc/{agent.process.pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stay_quiet(self, seconds):
        agents = self.start_hundred()
        used, end = self.processor_seconds(agents), time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            statuses = set(agents[turn % COUNT].members().values())
            self.assertEqual(statuses, {"alive"})
            turn += 1
            time.sleep(0.5)
        for agent in agents:
            self.assertNotIn("member-failed", agent.log(), agent.name)
            self.assertEqual(list(agent.members().values()), ["alive"] * COUNT)
        used = self.processor_seconds(agents) - used
        memory = sum(agent.memory_kib() for agent in agents) / COUNT
        print(f"{seconds} s quiet: {100 * used / seconds / COUNT:.2f} % of a processor and "
              f"{memory:.0f} KiB resident for each agent")

    @takes(300, processors=2)
    @timed
    def test_forms_and_stays_quiet(self):
        self.stay_quiet(int(os.environ.get("STARLING_QUIET_SECONDS", "20")))

    @takes(1200, processors=2)
    @harness.soak
    def test_quiet_for_ten_minutes(self):
        self.stay_quiet(600)


if __name__ == "__main__":
    harness.main()
