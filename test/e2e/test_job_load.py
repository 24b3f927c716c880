# SPDX-License-Identifier: Apache-2.0
"""Many jobs, and jobs that misbehave: none is lost or run twice, the agent's memory stays bounded, and
probes and queries keep their pace.

Ten thousand events:  python3 test/e2e/test_job_load.py Flood.test_ten_thousand_events
"""

import collections
import concurrent.futures
import json
import statistics
import threading
import time

import harness
from harness import Case, soak, takes, timed, wait_for, write_file

SENDERS = 4
# More than at rest. AddressSanitizer keeps what is freed.
MEMORY_KIB = (64 if harness.SCALE == 1 else 1024) << 10
BAD = {
    "sleep": "sleep 1000",
    "flood": "exec head -c 1073741824 /dev/zero",
    "fork": "for n in $(seq 200); do sleep 1000 & done; wait",
    "stubborn": "trap '' TERM; while :; do sleep 0.1; done",
    "pipes": "exec <&- >&- 2>&-; exec sleep 2",
}


class Load(Case):
    def pair(self, settings):
        """A victim that runs the jobs, and another member that asks and sends."""
        config = write_file(f"{self.folder}/victim.yaml", settings +
                            "  - {name: ping, on: [query:ping], run: echo pong}\n"
                            "jobs_kept: 1000000\nend_jobs_on_stop: true\n")
        free = write_file(f"{self.folder}/sender.yaml", "event_rate: 0\nquery_rate: 0\n")
        victim = self.agent("victim", "-config-file", config, "-log-level", "WARN")
        sender = self.agent("sender", "-config-file", free, join=[victim.endpoint])
        victim.start()
        sender.start()
        self.wait_formed([victim, sender])
        return victim, sender

    def send(self, sender, count):
        def one(number):
            sender.cli("event", "-coalesce=false", "work", str(number))
        with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
            for _ in pool.map(one, range(count)):
                pass

    def states(self, victim):
        """{(state, reason): jobs} of the handler `work`."""
        states = collections.Counter()
        below = 0
        while True:
            request = ["-limit", "1000", "-handler", "user:work"]
            jobs = victim.json("job", "list", *request, *(["-below", str(below)] if below else []))
            for job in jobs["jobs"]:
                states[job["state"], job["reason"]] += 1
                below = job["job"]
            if not jobs["jobs"]:
                return states

    def ask(self, sender):
        """Milliseconds of a query to the victim and its answer."""
        began = time.monotonic()
        done = sender.cli("query", "-timeout", "20s", "-node", "victim", "ping").stdout
        self.assertIn("Response from 'victim': pong", done)
        return (time.monotonic() - began) * 1000

    def unharmed(self, victim, sender):
        for one, other in ((victim, "sender"), (sender, "victim")):
            self.assertNotIn("member-failed", one.log())
            self.assertEqual(one.member(other)["status"], "alive")


@timed
class Flood(Load):
    def flood(self, count):
        victim, sender = self.pair(
            "event_handlers:\n"
            "  - name: work\n    on: [user:work]\n    concurrency: 8\n    queue: 65536\n"
            "    run: read -r number; echo $number >> runs\n")
        quiet = statistics.median(self.ask(sender) for _ in range(20))
        rest = victim.memory_kib()
        times, memory = [], []
        done = threading.Event()

        def watch():
            while not done.is_set():
                times.append(self.ask(sender))
                memory.append(victim.memory_kib())
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            try:
                began = time.monotonic()
                self.send(sender, count)
                wait_for(lambda: victim.read("runs").count("\n") >= count, "all have run",
                         60 + count / 20)
                length = time.monotonic() - began
            finally:
                done.set()
            watching.result()
        wait_for(lambda: self.states(victim) == {("succeeded", ""): count}, "all are recorded", 30)
        self.assertEqual(sorted(map(int, victim.read("runs").split())), list(range(count)))
        print(f"{count} events, {count} jobs in {length:.1f} s; memory {rest} KiB at rest, at most "
              f"{max(memory)} KiB; a query takes {quiet:.0f} ms at rest, "
              f"{statistics.median(times):.0f} ms meanwhile, at most {max(times):.0f} ms")
        self.assertLess(max(memory) - rest, MEMORY_KIB)
        self.assertLess(statistics.median(times), (10 * quiet + 500) * harness.SCALE)
        self.unharmed(victim, sender)

    @takes(180, 2)
    def test_a_thousand_events_are_a_thousand_jobs(self):
        self.flood(1000)

    @soak
    @takes(1800, 2)
    def test_ten_thousand_events(self):
        self.flood(10_000)

    @takes(120, 2)
    def test_what_the_policy_refuses_is_counted(self):
        victim, sender = self.pair(
            "event_handlers:\n"
            "  - name: work\n    on: [user:work]\n    queue: 50\n"
            "    run: read -r number; echo $number >> runs; [ $number -gt 0 ] || "
            "while [ ! -e go ]; do sleep 0.05; done\n")
        self.addCleanup(write_file, victim.path("go"), "")
        sender.cli("event", "-coalesce=false", "work", "0")
        wait_for(lambda: victim.read("runs"), "the first runs")
        count = 400
        with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
            for _ in pool.map(lambda number: sender.cli("event", "-coalesce=false", "work",
                                                        str(number + 1)), range(count - 1)):
                pass
        wait_for(lambda: sum(self.states(victim).values()) == count, "all have come")
        write_file(victim.path("go"), "")
        expected = {("succeeded", ""): 51, ("skipped", "the handler's queue is full"): count - 51}
        wait_for(lambda: self.states(victim) == expected, "51 have run, the others are counted", 30)
        self.assertEqual(len(victim.read("runs").split()), 51)
        self.assertIn(str(count - 51), json.dumps(victim.info()))


@timed
class Misbehaviour(Load):
    @takes(180, 2)
    def test_handlers_that_sleep_flood_fork_or_do_not_obey(self):
        victim, sender = self.pair("event_handlers:\n" + "".join(
            f"  - name: {name}\n    on: [user:{name}]\n    run: \"{command}\"\n"
            f"    timeout: {'4s' if name in ('sleep', 'fork', 'stubborn') else '2m'}\n"
            "    grace: 500ms\n" for name, command in BAD.items()))
        quiet = [self.ask(sender) for _ in range(30)]
        rest = victim.memory_kib()
        print(f"at rest: a query takes {statistics.median(quiet):.0f} ms, at most {max(quiet):.0f} ms")
        ends = {}
        for name in BAD:
            sender.cli("event", "-coalesce=false", name)

            def job(name=name):
                jobs = victim.json("job", "list", "-handler", f"user:{name}")["jobs"]
                return jobs[0] if jobs else {"state": "none"}
            wait_for(lambda: job()["state"] not in ("none", "queued"), f"{name} runs")
            times, memory = [], []
            while job()["state"] == "running":
                times.append(self.ask(sender))
                memory.append(victim.memory_kib())
            ends[name] = job()
            # One that was over at once has harmed nobody.
            self.assertLess(statistics.median(times or [0]),
                            (10 * statistics.median(quiet) + 200) * harness.SCALE, name)
            self.assertLess(max(memory or [0]) - rest, MEMORY_KIB, name)
            if times:
                print(f"{name}: {statistics.median(times):.0f} ms, at most {max(times):.0f} ms, "
                      f"{len(times)} queries; memory at most {max(memory)} KiB")
        self.assertEqual({name: job["state"] for name, job in ends.items()},
                         {"sleep": "timed-out", "flood": "succeeded", "fork": "timed-out",
                          "stubborn": "timed-out", "pipes": "succeeded"})
        self.assertEqual(ends["flood"]["output_bytes"], 1 << 30)
        self.unharmed(victim, sender)
        mark = f"{self.mark_name}={self.mark_value}"
        wait_for(lambda: sorted(harness.processes_with(mark)) ==
                 sorted([victim.process.pid, sender.process.pid, harness.server_of(victim)]),
                 "nothing of them is left")


if __name__ == "__main__":
    harness.main()
