# SPDX-License-Identifier: Apache-2.0
"""How soon real agents notice a death, and that they do not mistake a pause for one, with profile lan.

What agents believe is read from their logs: asking thirty of them every few milliseconds would disturb
what is measured. A few runs are a smoke; the figures in docs/results/real-agents.txt are made by

    STARLING_RUNS=20 STARLING_PAUSED_SECONDS=120 STARLING_RESULTS=docs/results/real-agents.txt \\
        python3 test/e2e/test_detection.py RealAgents

Variables:
  STARLING_RUNS            deaths of each kind (2); from 10 on, medians must meet their targets
  STARLING_PAUSED_SECONDS  how long members are paused at random (8)
  STARLING_RESULTS         figures are written to this file, with the simulator's beside them
  STARLING_SIM             the simulator (test/simulation/starling-sim in the build)
  STARLING_SEED            of the choice of victims and pauses (random, printed)
"""

import heapq
import os
import random
import re
import resource
import signal
import statistics
import time

import harness
from harness import Case, ROOT, SCALE, run, takes, timed, wait_for

RUNS = int(os.environ.get("STARLING_RUNS", "2"))
ENOUGH = 10  # runs, for a median to mean something
PAUSED_SECONDS = int(os.environ.get("STARLING_PAUSED_SECONDS", "8"))
RESULTS = os.environ.get("STARLING_RESULTS")
RESULTS_HEAD = """\
Real agents on one host, and the simulator beside them. Profile lan, loopback addresses.
Made by
    STARLING_RUNS={runs} STARLING_PAUSED_SECONDS={seconds} STARLING_RESULTS=FILE \\
        python3 test/e2e/test_detection.py RealAgents

"""
SIMULATOR = os.environ.get("STARLING_SIM", os.path.join(
    os.path.dirname(harness.BINARY), "test", "simulation", "starling-sim"))
SIMULATED_SEEDS = 10
CHANGE = re.compile(r"cluster: (member-\w+): (\S+) ")
STALL = re.compile(r"this agent did not run for (\d+) ms")
STATUS = {"member-join": "alive", "member-update": "alive", "member-failed": "failed",
          "member-leave": "left", "member-reap": "gone"}


class Watcher:
    """Follows the logs of agents. `views` is what each believes; `failures` all member-failed lines."""

    def __init__(self, agents):
        self.agents = agents
        self.names = {agent.name for agent in agents}
        self.read = {agent.name: 0 for agent in agents}
        self.views = {agent.name: {} for agent in agents}
        self.failures = []  # (time, observer, member)
        self.stalls = []    # (observer, milliseconds)

    def poll(self):
        for agent in self.agents:
            size = os.stat(agent.log_path).st_size
            if size <= self.read[agent.name]:
                continue
            with open(agent.log_path, "rb") as file:
                file.seek(self.read[agent.name])
                data = file.read(size - self.read[agent.name])
            end = data.rfind(b"\n") + 1
            self.read[agent.name] += end
            now = time.monotonic()
            for line in data[:end].decode(errors="replace").splitlines():
                self.take(now, agent.name, line)

    def take(self, now, observer, line):
        stall = STALL.search(line)
        if stall:
            self.stalls.append((observer, int(stall.group(1))))
        change = CHANGE.search(line)
        if not change:
            return
        status = STATUS[change.group(1)]
        self.views[observer][change.group(2)] = (status, now)
        if status == "failed":
            self.failures.append((now, observer, change.group(2)))

    def ignore_stalls(self, names):
        """Of those that were stopped on purpose."""
        self.stalls = [one for one in self.stalls if one[0] not in names]

    def all_show(self, member, status):
        return all(self.views[name].get(member, ("",))[0] == status
                   for name in self.names if name != member)

    def all_alive(self):
        return all(sum(status == "alive" for status, _ in view.values()) == len(self.names)
                   for view in self.views.values())

    def wait(self, condition, what, seconds):
        deadline = time.monotonic() + seconds * SCALE
        while True:
            self.poll()
            if condition():
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds * SCALE:.0f} s: {what}")
            time.sleep(0.005)


def simulated(name):
    """Seconds until all knew, of each failure in examples/simulation/NAME; empty without simulator.
    And the failure notices about healthy members."""
    times, false = [], 0
    if not os.path.exists(SIMULATOR):
        return times, false
    for seed in range(1, SIMULATED_SEEDS + 1):
        told = run(SIMULATOR, "run", os.path.join(ROOT, "examples", "simulation", name), "--seed",
                   str(seed), check=False).stdout
        for amount, unit in re.findall(
                r"member \d+ (?:crashed|silent) at .*?(\d[\d.]*) (m?s)(?:  back after.*)?\n", told):
            times.append(float(amount) / (1000 if unit == "ms" else 1))
        false += int(re.search(r"false failures +(\d+) about healthy", told).group(1))
    return times, false


def figures(times):
    if not times:
        return f"{'-':>5} {'-':>8} {'-':>8}"
    return f"{len(times):5} {statistics.median(times):6.2f} s {max(times):6.2f} s"


def tell(text):
    print(text, flush=True)
    if RESULTS:
        if not tell.begun:
            with open(RESULTS, "w", encoding="utf-8") as file:
                file.write(RESULTS_HEAD.format(runs=RUNS, seconds=PAUSED_SECONDS))
        tell.begun = True
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(text + "\n")


tell.begun = False


@timed
class RealAgents(Case):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("STARLING_SEED", random.randrange(1 << 32)))
        self.random = random.Random(self.seed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(
            resource.RLIMIT_NOFILE)[1]))

    def form(self, count):
        first = self.agent("node00", "-log-level", "INFO", profile="lan").start()
        agents = [first]
        for number in range(1, count):
            agents.append(self.agent(f"node{number:02}", "-log-level", "INFO", profile="lan",
                                     join=[first.endpoint]).launch())
        watcher = Watcher(agents)
        watcher.wait(watcher.all_alive, f"{count} agents see each other", 120)
        time.sleep(2)  # the cluster comes to rest
        watcher.poll()
        watcher.stalls.clear()
        return watcher

    def deaths(self, watcher, end, begin_again, most):
        """Ends one agent after the other; seconds until every other one showed it failed."""
        times = []
        for _ in range(RUNS):
            victim = self.random.choice(watcher.agents)
            time.sleep(self.random.uniform(0.5, 1.5))
            watcher.poll()
            started = time.monotonic()
            end(victim)
            watcher.wait(lambda victim=victim: watcher.all_show(victim.name, "failed"),
                         f"all show {victim.name} failed", most)
            times.append(max(watcher.views[name][victim.name][1] for name in watcher.names
                             if name != victim.name) - started)
            false = [one for one in watcher.failures if one[2] != victim.name]
            self.assertEqual(false, [], f"false failures while {victim.name} was gone")
            begin_again(victim)
            watcher.wait(watcher.all_alive, f"{victim.name} is back, and all agree", 60)
            watcher.failures.clear()
            watcher.ignore_stalls({victim.name})
        return times

    def report(self, title, watcher, times, scenario, target):
        simulation, false = simulated(scenario)
        self.assertEqual(false, 0, "false failures in the simulator")
        tell(f"{title} (target of the median: {target} s)\n"
             f"  {'':14} runs   median      max\n"
             f"  real agents    {figures(times)}   all: "
             f"{' '.join(f'{one:.2f}' for one in sorted(times))}\n"
             f"  simulator      {figures(simulation)}   "
             f"(examples/simulation/{scenario}, {SIMULATED_SEEDS} seeds)\n"
             f"  {self.host(watcher)}\n")
        if len(times) >= ENOUGH:
            self.assertLessEqual(statistics.median(times), target)

    def host(self, watcher):
        """What else the measurement depends on."""
        longest = max((length for _, length in watcher.stalls), default=0)
        return (f"host: {os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}; agents "
                f"that did not run for 100 ms or more though nobody stopped them: "
                f"{len(watcher.stalls)} times, the longest {longest} ms; seed {self.seed}")

    @takes(300 + 15 * RUNS, processors=2)
    def test_killed(self):
        watcher = self.form(30)

        def restart(victim):
            watcher.views[victim.name].clear()
            victim.launch()
        times = self.deaths(watcher, lambda victim: victim.kill(), restart, 20)
        self.report("One of 30 agents killed (SIGKILL), until all others show it failed", watcher,
                    times, "real-killed.yaml", 1.5)

    @takes(300 + 30 * RUNS, processors=2)
    def test_stopped(self):
        watcher = self.form(30)
        times = self.deaths(watcher, lambda victim: victim.signal(signal.SIGSTOP),
                            lambda victim: victim.signal(signal.SIGCONT), 30)
        self.report("One of 30 agents goes silent (SIGSTOP), until all others show it failed",
                    watcher, times, "real-silent.yaml", 5)

    def pause_at_random(self, watcher, busy, seconds):
        """Stops each of `busy` for 2 to 8 s, again and again; how often."""
        start = time.monotonic()
        pauses = 0
        due = [(start + self.random.uniform(0, 6), number, True) for number in range(len(busy))]
        heapq.heapify(due)
        while due:
            at, number, stop = heapq.heappop(due)
            while time.monotonic() < at:
                watcher.poll()
                time.sleep(min(0.02, max(0, at - time.monotonic())))
            busy[number].signal(signal.SIGSTOP if stop else signal.SIGCONT)
            length = self.random.uniform(2, 8) if stop else self.random.uniform(0, 6)
            pauses += stop
            if stop or at + length < start + seconds:
                heapq.heappush(due, (at + length, number, not stop))
        return pauses

    @takes(300 + PAUSED_SECONDS, processors=2)
    def test_paused(self):
        watcher = self.form(60)
        busy = self.random.sample(watcher.agents, 12)
        busy_names = {agent.name for agent in busy}
        pauses = self.pause_at_random(watcher, busy, PAUSED_SECONDS)
        ended = time.monotonic()
        watcher.wait(watcher.all_alive, "all agree that all are alive", 60)
        agreed = time.monotonic() - ended
        everyone = {name: "alive" for name in watcher.names}
        for agent in watcher.agents:
            self.assertEqual(agent.members(), everyone, agent.name)
        watcher.poll()
        watcher.ignore_stalls(busy_names)
        false = [one for one in watcher.failures if one[2] not in busy_names]
        _, simulated_false = simulated("real-paused.yaml")
        tell(f"12 of 60 agents paused at random for 2 to 8 s, {pauses} pauses in "
             f"{PAUSED_SECONDS} s (target: nobody who was not paused is failed anywhere)\n"
             f"  real agents    {len(false)} failures of members that were not paused, "
             f"{len(watcher.failures)} notices about paused ones; all agree "
             f"{agreed:.2f} s after the last pause\n"
             f"  simulator      {simulated_false} failures of members that were not paused "
             f"(examples/simulation/real-paused.yaml, {SIMULATED_SEEDS} seeds)\n"
             f"  {self.host(watcher)}\n")
        self.assertEqual(false, [])
        self.assertEqual(simulated_false, 0)


@timed
class Together(Case):
    """Failures that are noticed together reach a handler together."""

    def six_of_twelve(self, end):
        script = self.script("failed", "#!/bin/sh\necho run >> runs\ncat >> lines\n")
        first = self.agent("node00", "-event-handler", f"member-failed={script}", "-log-level",
                           "INFO", profile="lan").start()
        agents = [first] + [self.agent(f"node{number:02}", "-log-level", "INFO", profile="lan",
                                       join=[first.endpoint]).launch() for number in range(1, 12)]
        watcher = Watcher(agents)
        watcher.wait(watcher.all_alive, "twelve agents see each other", 60)
        victims = agents[6:]
        started = time.monotonic()
        for victim in victims:
            end(victim)
        watcher.wait(lambda: len(first.read("lines").splitlines()) == 6, "six lines", 30)
        seen = [at for at, observer, _ in watcher.failures if observer == "node00"]
        print("node00 noticed after:", [f"{at - started:.2f}" for at in seen])
        self.assertEqual(sorted(line.split("\t")[0] for line in first.read("lines").splitlines()),
                         [victim.name for victim in victims])
        self.assertEqual(first.read("runs"), "run\n")

    def test_six_killed(self):
        self.six_of_twelve(lambda victim: victim.kill())

    def test_six_silent(self):
        self.six_of_twelve(lambda victim: victim.signal(signal.SIGSTOP))


@timed
class Degraded(Case):
    def test_a_member_that_pauses_again_and_again_is_degraded(self):
        alpha, beta, gamma, delta = self.cluster("alpha", "beta", "gamma", "delta", profile="lan")

        def shown_degraded():
            delta.signal(signal.SIGSTOP)
            time.sleep(2)  # long enough to be accused, too short to be failed
            delta.signal(signal.SIGCONT)
            wait_for(lambda: alpha.sees(delta="alive"), "delta is back", 10)
            return alpha.member("delta")["degraded"]
        wait_for(shown_degraded, "delta is degraded", 40)
        self.assertEqual([member["name"] for member in alpha.json("members", "-degraded")["members"]],
                         ["delta"])
        lines = {line.split()[0]: line.split() for line in alpha.cli("members").stdout.splitlines()}
        self.assertEqual(lines["delta"][-1], "degraded")
        self.assertEqual(lines["beta"][-1], "alive")
        for agent in (beta, gamma):
            wait_for(lambda agent=agent: agent.member("delta")["degraded"], "the others see it, too")
        self.assertEqual(alpha.json("info")["serf"]["degraded"], "1")
        self.assertEqual(alpha.json("info")["agent"]["degraded"], "false")
        wait_for(lambda: delta.json("info")["agent"]["degraded"] == "true", "delta knows it itself")
        self.assertEqual(delta.json("info")["serf"]["degraded"], "1")


if __name__ == "__main__":
    harness.main()
