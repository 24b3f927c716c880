# SPDX-License-Identifier: Apache-2.0
"""Malformed packets and streams, from a stranger and from somebody with the cluster key."""

import os
import subprocess

import harness
from harness import BINARY, Case, run, sanitized, takes, wait_for

# Bounded queues fill, and the allocator keeps what they gave back; a leak of a few bytes for each
# packet would be more than this.
GROWTH_KIB = 6 * 1024


class Storm(Case):
    def storm(self, agent, packets, streams, seed, key=None):
        program = os.path.join(os.environ.get("STARLING_BUILD", os.path.dirname(BINARY)), "test",
                               "fuzz", "packet_storm")
        command = [program, "--target", agent.endpoint, "--packets", str(packets), "--streams",
                   str(streams), "--seed", str(seed)]
        if key:
            command += ["--key", key]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=300 * harness.SCALE)
        print(done.stdout.strip(), flush=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(agent.running(), "the agent is gone")

    def unharmed(self, agents):
        """All alive in each other's eyes, nobody else there, and still at work."""
        everyone = {agent.name: "alive" for agent in agents}
        for agent in agents:
            wait_for(lambda agent=agent: agent.members() == everyone,
                     f"{agent.name} sees exactly {everyone}")
            self.assertEqual(agent.member(agent.name)["tags"], {"role": agent.name})
        agents[0].cli("event", "-coalesce=false", "still", "here")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard").endswith("here\n"),
                     f"{agent.name} hears an event")

    def start_three(self, *arguments):
        agents = self.cluster("alpha", "beta", "gamma", arguments=[
            *arguments, "-event-handler", "user:still=cat >> heard"])
        for agent in agents:
            agent.cli("tags", "-set", f"role={agent.name}")
        return agents

    def weather(self, packets, streams):
        key = run(BINARY, "keygen").stdout.strip()
        agents = self.start_three("-encrypt", key)
        beta = agents[1]
        self.storm(beta, packets // 4, streams // 4, seed=1)           # a stranger
        self.storm(beta, packets // 4, streams // 4, seed=2, key=key)  # one of the cluster
        before = beta.memory_kib()
        self.storm(beta, packets // 2, streams // 2, seed=3, key=key)
        self.unharmed(agents)
        growth = beta.memory_kib() - before
        print(f"resident {before} KiB before the second half, {growth} KiB more after it")
        if harness.SCALE == 1:
            self.assertLess(growth, GROWTH_KIB)

    @takes(240)
    def test_hundred_thousand_packets_and_a_thousand_streams(self):
        self.weather(100_000, 1_000)

    @takes(120)
    @sanitized
    def test_short_storm(self):
        self.weather(4_000, 80)

    @takes(1200)
    @harness.soak
    def test_ten_times_as_many(self):
        self.weather(1_000_000, 10_000)

    @takes(120)
    def test_storm_without_a_key(self):
        agents = self.start_three()
        self.storm(agents[2], 5_000, 50, seed=4)
        self.unharmed(agents)


if __name__ == "__main__":
    harness.main()
