# SPDX-License-Identifier: Apache-2.0
"""The cluster's key changes while agents run, and nothing is lost on the way."""

import json
import os
import re
import shutil
import stat
import subprocess
import threading
import time
import unittest

import harness
from harness import BINARY, Case, run, takes, wait_for, write_file

SERF = shutil.which("serf")


def new_key():
    return run(BINARY, "keygen").stdout.strip()


class Keys(Case):
    def keyed(self, count, key, **options):
        """Agents with a keyring file each."""
        agents = []
        for number in range(count):
            ring = write_file(os.path.join(self.folder, f"ring{number}.json"), json.dumps([key]), 0o600)
            agents.append(self.agent(f"node{number:02}", "-keyring-file", ring,
                                     join=[agents[0].endpoint] if agents else [], **options).launch())
            if number == 0:
                agents[0].ready()
        for agent in agents:
            agent.ready()
        self.wait_formed(agents, 60)
        return agents

    def ring(self, number):
        path = os.path.join(self.folder, f"ring{number}.json")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="ascii") as file:
            return json.load(file)

    def listed(self, agent):
        """{key: "have/all"}"""
        text = agent.cli("keys", "-list").stdout
        return dict(re.findall(r"^(\S{44})  \[(\d+/\d+)\]$", text, re.MULTILINE))

    def test_install_use_remove(self):
        old, new = new_key(), new_key()
        alpha, beta = self.keyed(2, old)
        self.assertEqual(self.listed(alpha), {old: "2/2"})
        self.assertEqual(alpha.cli("keys", "-install", new).stdout,
                         "==> Installing key on all members...\n==> Successfully installed key!\n")
        self.assertEqual(self.listed(beta), {old: "2/2", new: "2/2"})
        self.assertEqual(self.ring(1), [old, new])
        beta.cli("keys", "-use", new)
        refused = alpha.cli("keys", "-remove", new, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Error removing key: 2/2 nodes reported failure", refused.stderr)
        self.assertRegex(refused.stderr, "failed:  node01  removing the primary key is not allowed")
        alpha.cli("keys", "-remove", old)
        for number in range(2):
            self.assertEqual(self.ring(number), [new])
        self.assertEqual(alpha.cli("keys", "-install", "x", check=False).returncode, 1)
        # Who comes back has the new key, and only who has it is let in.
        beta.kill()
        self.wait_seen([alpha], node01="failed")
        beta.start()
        self.wait_formed([alpha, beta])
        stranger = self.agent("stranger", "-encrypt", old).start()
        self.assertEqual(stranger.cli("join", alpha.endpoint, check=False).returncode, 1)
        for agent in (alpha, beta):
            for key in (old, new):
                self.assertNotIn(key, agent.log())

    def test_who_did_not_is_named(self):
        old, new = new_key(), new_key()
        alpha, beta, gamma = self.keyed(3, old)
        gamma.kill()
        self.wait_seen([alpha, beta], node02="failed")
        told = alpha.cli("keys", "-install", new)
        self.assertIn("node02  has failed and was not asked", told.stderr)
        # A keyring that cannot be written is not changed, and its agent says so.
        ring = os.path.join(self.folder, "ring1.json")
        os.rename(ring, ring + ".away")
        os.mkdir(ring)
        refused = alpha.cli("keys", "-use", new, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("1/2 nodes reported failure", refused.stderr)
        self.assertRegex(refused.stderr, "failed:  node01  .*ring1.json")
        # Both go on to understand each other.
        alpha.cli("tags", "-set", "a=b")
        wait_for(lambda: beta.member("node00")["tags"] == {"a": "b"}, "beta hears alpha")
        self.assertEqual(self.listed(beta), {old: "2/2", new: "2/2"})

    def test_without_a_keyring(self):
        alpha, = self.cluster("alpha")
        refused = alpha.cli("keys", "-install", new_key(), check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("No keyring to modify (encryption not enabled)", refused.stderr)
        beta = self.agent("beta", "-encrypt", new_key()).start()
        told = beta.cli("keys", "-install", new_key())
        self.assertIn("lost when it restarts", told.stderr)

    @unittest.skipUnless(SERF, "needs Debian's package serf")
    def test_serfs_own_command(self):
        old, new = new_key(), new_key()
        rpc = f"{self.network}.1:7373"
        alpha, = self.keyed(1, old, rpc=rpc)
        for arguments in (("-install", new), ("-use", new), ("-remove", old)):
            self.assertIn("Successfully", run(SERF, "keys", f"-rpc-addr={rpc}", *arguments).stdout)
        self.assertIn(f"{new}  [1/1]", run(SERF, "keys", f"-rpc-addr={rpc}", "-list").stdout)
        refused = run(SERF, "keys", f"-rpc-addr={rpc}", "-remove", new, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("1/1 nodes reported failure", refused.stdout + refused.stderr)
        self.assertEqual(self.listed(alpha), {new: "1/1"})

    def rotate(self, count, seconds, rate=100):
        """Events from all members, one after the other, while the key changes."""
        keys = [new_key(), new_key()]
        agents = self.keyed(count, keys[0], profile="lan")
        stop, failures, sent = threading.Event(), [], [0]

        def send():
            due = time.monotonic()
            running = []
            while not stop.is_set():
                command = [BINARY, "event", "-control", agents[sent[0] % count].control,
                           "-coalesce=false", "tick", str(sent[0])]
                running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                                stderr=subprocess.PIPE, text=True))
                sent[0] += 1
                if len(running) > 50:
                    reap(running.pop(0))
                due += 1 / rate
                time.sleep(max(0, due - time.monotonic()))
            for process in running:
                reap(process)

        def reap(process):
            error = process.communicate()[1]
            if process.returncode != 0:
                failures.append(error)

        sender = threading.Thread(target=send)
        started = time.monotonic()
        sender.start()
        try:
            changes = 0
            while time.monotonic() < started + seconds:
                old, new = keys[changes % 2], keys[(changes + 1) % 2]
                agents[changes % count].cli("keys", "-install", new)
                agents[(changes + 3) % count].cli("keys", "-use", new)
                agents[(changes + 5) % count].cli("keys", "-remove", old)
                changes += 1
        finally:
            took = time.monotonic() - started
            stop.set()
            sender.join()
        self.assertEqual(failures, [])

        def all_heard(agent):
            heard = int(agent.info()["protocol"]["events_accepted"])
            assert heard == sent[0], f"{heard} of {sent[0]}"
            return True

        for agent in agents:
            wait_for(lambda agent=agent: all_heard(agent), f"{agent.name} has every event", 30)
        refused = 0
        for number, agent in enumerate(agents):
            drops = agent.info()["drops"]
            refused += sum(int(drops[f"network.{what}_unknown_key"])
                           for what in ("packets", "handshakes"))
            self.assertEqual(drops["core.events_missed"], "0")
            self.assertNotIn("member-failed", agent.log())
            self.assertEqual(self.ring(number), [keys[changes % 2]])
        print(f"{count} members, {sent[0]} events ({sent[0] / took:.0f} a second) heard by each, "
              f"{changes} changes of the key, {refused} packets under a key that was gone")
        self.assertGreater(changes, 0)
        self.assertEqual(refused, 0)

    @takes(120, processors=2)
    def test_thirty_change_their_key_under_load(self):
        self.rotate(30, 5)

    @takes(600, processors=2)
    @harness.soak
    def test_thirty_change_their_key_for_five_minutes(self):
        self.rotate(30, 300)


if __name__ == "__main__":
    harness.main()
