# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments on an agent under events. STARLING_CRASHES sets how often."""

import collections
import os
import random
import threading

import harness
from harness import Case, sanitized, takes, timed, wait_for


class Sender(threading.Thread):
    """Sends numbered events, each from a member that stays up, until it is told to stop."""

    def __init__(self, agents):
        super().__init__(daemon=True)
        self.agents = agents
        self.stopping = threading.Event()
        self.sent = []
        self.error = None

    def run(self):
        number = 0
        try:
            while not self.stopping.wait(0.02):
                agent = self.agents[number % len(self.agents)]
                agent.cli("event", "-coalesce=false", "count", f"n{number}")
                self.sent.append(f"n{number}")
                number += 1
        except Exception as error:  # told to the test
            self.error = error

    def finish(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error


class Crash(Case):
    def crash(self, times):
        seed = int(os.environ.get("STARLING_SEED", random.randrange(1 << 32)))
        print(f"STARLING_SEED={seed}", flush=True)
        chance = random.Random(seed)
        handler = ["-event-handler", "user:count=cat >> heard"]
        alpha, beta = self.cluster("alpha", "beta", arguments=handler)
        victim = self.agent("victim", *handler, join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta, victim])
        # From now on only its own memory tells it where the others are.
        at = victim.command.index("-retry-join")
        del victim.command[at:at + 4]
        identity = alpha.member("victim").get("id")

        sender = Sender([alpha, beta])
        sender.start()
        self.addCleanup(sender.stopping.set)
        for number in range(times):
            moment = threading.Event()
            moment.wait(chance.choice((0, 0.02, 0.1, 0.4)) * chance.random())
            victim.kill()
            if chance.random() < 0.25:  # dies again while it starts
                victim.launch()
                moment.wait(0.05 * chance.random())
                victim.kill()
            victim.start()
            wait_for(lambda: victim.sees(alpha="alive", beta="alive"),
                     f"the victim has rejoined after crash {number + 1}", 30)
        wait_for(lambda: alpha.sees(victim="alive"), "alpha sees the victim alive", 30)
        sender.finish()

        alpha.cli("event", "-coalesce=false", "count", "last")
        for agent in (alpha, beta, victim):
            wait_for(lambda agent=agent: "last" in agent.read("heard").split(),
                     f"{agent.name} heard the last event", 30)
        for agent in (alpha, beta):
            self.assertEqual(sorted(agent.read("heard").split()), sorted(sender.sent + ["last"]))
        heard = collections.Counter(victim.read("heard").split())
        twice = {event: count for event, count in heard.items() if count > 1}
        self.assertEqual(twice, {}, "events delivered twice to one handler")
        self.assertEqual(set(heard) - set(sender.sent) - {"last"}, set())
        self.assertEqual(alpha.member("victim").get("id"), identity)
        # Handlers outlive the agent, and what had not begun is begun by the next one.
        self.assertEqual(set(sender.sent) | {"last"}, set(heard), "events that were not handled")
        print(f"{times} crashes, {len(sender.sent)} events")

    @takes(300)
    @timed
    def test_crashes(self):
        self.crash(int(os.environ.get("STARLING_CRASHES", "200")))

    @takes(120)
    @sanitized
    def test_a_few_crashes(self):
        self.crash(3)

    @takes(3600)
    @harness.soak
    def test_2000_crashes(self):
        self.crash(2000)


if __name__ == "__main__":
    harness.main()
