# SPDX-License-Identifier: Apache-2.0
"""kill -9 of agent, supervisor and command at random points: at every durable step of a job (by a hook
in a build of its own, test/faults/), and from outside at any moment.

A thousand kills:  STARLING_KILLS=1000 python3 test/e2e/test_faults.py Faults.test_kills
"""

import collections
import os
import random
import signal
import threading

import harness
from harness import Case, soak, takes, wait_for

FAULTY = os.path.join(os.environ.get("STARLING_BUILD", os.path.dirname(harness.BINARY)),
                      "test", "faults", "starling-faults")
HANDLER = """#!/bin/sh
read -r number
echo "$number begin" >> runs
sleep 0.0$((number % 7))
echo output of $number
echo "$number end" >> runs
"""


class Sender(threading.Thread):
    """Events through a member that nobody kills."""

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        self.stopping = threading.Event()
        self.sent = 0

    def run(self):
        while not self.stopping.wait(0.01):
            self.agent.cli("event", "-coalesce=false", "work", str(self.sent))
            self.sent += 1


class Faults(Case):
    def setUp(self):
        super().setUp()
        if not os.path.exists(FAULTY):
            self.skipTest("starling-faults is not built")

    def lines(self, victim):
        return victim.read("faults").split()

    def kill_somebody(self, chance, victim):
        """A supervisor or a command, from outside. What it was."""
        mark = f"{self.mark_name}={self.mark_value}"
        own = {agent.process.pid for agent in self.agents if agent.running()}
        targets = [pid for pid in harness.processes_with(mark) if pid not in own
                   and os.readlink(f"/proc/{pid}/cwd") == victim.folder]
        if not targets:
            return 0
        try:
            os.kill(chance.choice(targets), signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1

    def kills(self, wanted):
        seed = int(os.environ.get("STARLING_SEED", random.randrange(1 << 32)))
        print(f"STARLING_SEED={seed}", flush=True)
        chance = random.Random(seed)
        alpha, = self.cluster("alpha")
        script = self.script("work.sh", HANDLER)
        config = harness.write_file(
            f"{self.folder}/victim.yaml",
            f"event_handlers:\n  - name: work\n    on: [user:work]\n    run: [{script}]\n"
            "    concurrency: 4\n    queue: 65536\njobs_kept: 1000000\n")
        victim = self.agent("victim", "-config-file", config, join=[alpha.endpoint])
        victim.environment["STARLING_FAULT_LOG"] = victim.path("faults")
        healthy = victim.command[0]
        victim.start()
        wait_for(lambda: alpha.sees(victim="alive"), "the victim has joined")
        victim.kill()
        victim.command[0] = FAULTY
        victim.environment["STARLING_FAULT"] = "8"
        sender = Sender(alpha)
        sender.start()
        self.addCleanup(sender.stopping.set)
        outside = 0
        pause = threading.Event()
        while len(self.lines(victim)) + outside < wanted:
            if not victim.running():
                victim.launch()
            pause.wait(0.05 * chance.random())
            if chance.random() < 0.15:
                try:
                    outside += self.kill_somebody(chance, victim)
                except OSError:  # gone while we looked
                    pass
            if chance.random() < 0.03 and victim.running():
                victim.kill()
                outside += 1
        sender.stopping.set()
        sender.join()
        if victim.running():
            victim.kill()
        victim.command[0] = healthy
        del victim.environment["STARLING_FAULT"]
        victim.start()
        self.check(victim, sender.sent)
        points = collections.Counter(self.lines(victim))
        print(f"{sum(points.values())} kills at {len(points)} steps, {outside} from outside, "
              f"{sender.sent} events")

    def all_jobs(self, victim):
        jobs = victim.json("job", "list", "-limit", "1000", "-state", "queued", "-state",
                           "running")["jobs"]
        return jobs

    def check(self, victim, sent):
        wait_for(lambda: "last" not in victim.read("runs") and not self.all_jobs(victim),
                 "no job is queued or running", 120)
        runs = collections.Counter(victim.read("runs").split("\n"))
        twice = {line: count for line, count in runs.items() if count > 1 and line}
        self.assertEqual(twice, {}, "run twice")
        states = self.states(victim)
        self.assertEqual(sum(states.values()), sent, f"a job for each event: {states}")
        self.assertEqual(set(states) - {"succeeded", "failed", "interrupted"}, set())
        ends = sum(1 for line in runs if line.endswith("end"))
        begins = sum(1 for line in runs if line.endswith("begin"))
        # One that said "end" may have been cut short before its exit status was known.
        self.assertLessEqual(states["succeeded"], ends)
        self.assertLessEqual(ends, states["succeeded"] + states["interrupted"] + states["failed"])
        self.assertLessEqual(begins, sent)
        self.assertGreaterEqual(begins, sent - states["interrupted"] - states["failed"])
        print(f"{dict(states)}, {begins} begun, {ends} ended")

    def states(self, victim):
        import sqlite3
        with sqlite3.connect(f"file:{victim.folder}/data/state.db?mode=ro", uri=True) as database:
            rows = database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        names = ["queued", "running", "succeeded", "failed", "timed-out", "killed", "interrupted",
                 "skipped"]
        return collections.Counter({names[state]: count for state, count in rows})

    @takes(120)
    def test_a_few_kills(self):
        self.kills(25)

    @soak
    @takes(3600)
    def test_kills(self):
        self.kills(int(os.environ.get("STARLING_KILLS", "1000")))


if __name__ == "__main__":
    harness.main()
