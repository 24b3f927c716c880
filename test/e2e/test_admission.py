# SPDX-License-Identifier: Apache-2.0
"""Admission: only nodes that an operator has admitted are heard; those banned are heard no more."""

import os

import harness
from harness import Case, sanitized, wait_for, write_file


class Admission(Case):
    def setUp(self):
        super().setUp()
        self.alice = os.path.join(self.folder, "alice.key")
        self.public = harness.run(harness.BINARY, "operator", "keygen", "-name", "alice", "-out",
                                  self.alice, "-no-passphrase").stdout.strip()

    def fenced(self, name, join=None, admission="operators"):
        agent = self.agent(name, join=[join.endpoint] if join else [])
        agent.command += ["-config-file", write_file(agent.path("config.yaml"), (
            f"admission: {admission}\ntrusted_operators: ['{self.public}']\n"))]
        return agent

    def admitted(self, agent):
        """{id: state} as the agent has it."""
        return {each["id"]: each["state"] for each in agent.json("node", "list")["nodes"]}

    def id_of(self, agent):
        return agent.cli("node", "id").stdout.strip()

    def three(self):
        a = self.fenced("a").start()
        b = self.fenced("b", a).start()
        c = self.fenced("c", a).start()
        self.wait_formed([a, b, c])
        for agent in (a, b, c):
            early = a.cli("node", "close", "-sign", self.alice, check=False)
            self.assertIn("would be shut out:", early.stderr)
            self.assertIn(agent.name, early.stderr.split(":")[-1])
            a.cli("node", "admit", "-sign", self.alice, agent.name)
        # What has been said counts as soon as the agent knows all that the others know.
        wait_for(lambda: a.cli("node", "close", "-sign", self.alice), "all are admitted")
        for agent in (a, b, c):
            wait_for(lambda agent=agent: len(self.admitted(agent)) == 4, "all know of all")
            wait_for(lambda agent=agent: "only admitted nodes are heard" in agent.log(), "closed")
        self.wait_formed([a, b, c])
        return a, b, c

    @sanitized
    @harness.takes(120)
    def test_a_newcomer_is_admitted_first(self):
        a, b, c = self.three()
        d = self.fenced("d", a).start()
        wait_for(lambda: self.id_of(d) in a.cli("node", "pending").stdout, "it has knocked")
        self.assertNotIn("d", a.members())
        self.assertEqual(list(b.members()), ["a", "b", "c"])
        # Without a signature, or by somebody who is not trusted: nothing.
        self.assertIn("-sign", a.cli("node", "admit", self.id_of(d), check=False).stderr)
        mallory = os.path.join(self.folder, "mallory.key")
        harness.run(harness.BINARY, "operator", "keygen", "-name", "mallory", "-out", mallory,
                    "-no-passphrase")
        refused = a.cli("node", "admit", "-sign", mallory, self.id_of(d), check=False)
        self.assertIn("lets nobody with the key", refused.stderr)
        told = b.cli("node", "admit", "-sign", self.alice, self.id_of(d)).stdout
        self.assertIn("3 of 3 members know", told)
        self.wait_formed([a, b, c, d])
        wait_for(lambda: len(self.admitted(d)) == 5, "it has the whole list")
        wait_for(lambda: "only admitted nodes are heard" in d.log(), "and goes by it")

    @harness.takes(120)
    def test_a_ban_reaches_who_was_away_and_survives_all(self):
        a, b, c = self.three()
        c.kill()
        self.wait_seen([a, b], c="failed")
        thief = self.fenced("thief", a).start()
        thief_id = self.id_of(thief)
        a.cli("node", "admit", "-sign", self.alice, thief_id)
        self.wait_formed([a, b, thief])
        told = a.cli("node", "ban", "-sign", self.alice, "-reason", "stolen", "thief").stdout
        self.assertIn("Banned " + thief_id, told)
        for agent in (a, b):
            wait_for(lambda agent=agent: "thief" not in agent.members(), "it is forgotten")
        c.start()
        wait_for(lambda: self.admitted(c).get(thief_id) == "banned", "c hears of it")
        for agent in (a, b, c):
            agent.kill()
        for agent in (a, b, c):
            agent.launch()
        for agent in (a, b, c):
            agent.ready()
            self.assertEqual(self.admitted(agent)[thief_id], "banned")
        self.wait_formed([a, b, c])
        thief.kill()
        thief.start()
        wait_for(lambda: any(int(agent.info()["drops"]["core.unadmitted_packets"]) > 0
                             for agent in (a, b, c)), "it tries")
        for agent in (a, b, c):
            self.assertEqual(sorted(agent.members()), ["a", "b", "c"])

    def test_bans_work_without_admission(self):
        agents = []
        for name in ("a", "b", "c"):
            agents.append(self.fenced(name, agents[0] if agents else None, "open").start())
        self.wait_formed(agents)
        a, b, c = agents
        b.cli("node", "ban", "-sign", self.alice, "c")
        for agent in (a, b):
            wait_for(lambda agent=agent: "c" not in agent.members(), "c is gone")
        # Taking the operator's trust away takes his word away.
        for agent in (a, b):
            agent.cli("operator", "revoke", "alice")
            self.assertEqual(list(self.admitted(agent).values()), ["untrusted"])
        wait_for(lambda: "c" in a.members() and "c" in b.members(), "c is back", 60)


if __name__ == "__main__":
    harness.main()
