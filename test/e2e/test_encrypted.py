# SPDX-License-Identifier: Apache-2.0
"""With a cluster key everything works, and nothing works without it."""

import json
import os

import harness
from harness import BINARY, Case, run, sanitized, wait_for, write_file


def new_key():
    return run(BINARY, "keygen").stdout.strip()


class Encrypted(Case):
    @sanitized
    def test_cluster_with_a_key(self):
        key = new_key()
        agents = self.cluster("alpha", "beta", "gamma", arguments=[
            "-encrypt", key, "-event-handler", "user:deploy=cat >> heard",
            "-event-handler", "query:big=head -c 100000 /dev/zero | tr '\\0' x"])
        agents[1].cli("event", "-coalesce=false", "deploy", "sealed")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard") == "sealed\n",
                     f"{agent.name} heard the event")
        answers = json.loads(agents[2].cli("query", "-format", "json", "big").stdout)
        self.assertEqual([len(text) for text in answers["Responses"].values()], [100000] * 3)

    def test_wrong_key_cannot_join(self):
        alpha, = self.cluster("alpha", arguments=["-encrypt", new_key()])
        for name, flags in (("wrong", ["-encrypt", new_key()]), ("none", [])):
            with self.subTest(name=name):
                stranger = self.agent(name, *flags).start()
                tried = stranger.cli("join", alpha.endpoint, check=False)
                self.assertEqual(tried.returncode, 1, tried.stdout)
                self.assertEqual(list(alpha.members()), ["alpha"])
                self.assertEqual(list(stranger.members()), [name])
                both = (alpha.log() + stranger.log() + tried.stderr).lower()
                self.assertIn("key", both)

    def test_keyring_file(self):
        old, new = new_key(), new_key()
        both = write_file(os.path.join(self.folder, "both.json"), json.dumps([new, old]), 0o600)
        alpha = self.agent("alpha", "-encrypt", old).start()
        # beta seals with the new key, which alpha does not have: only the old one is common.
        ring = write_file(os.path.join(self.folder, "ring.json"), json.dumps([old, new]), 0o600)
        beta = self.agent("beta", "-keyring-file", ring, join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        gamma = self.agent("gamma", "-keyring-file", both).start()
        tried = gamma.cli("join", beta.endpoint, check=False)
        self.assertEqual(tried.returncode, 0, tried.stderr)  # beta can open the new key

    def test_key_is_nowhere_to_be_read(self):
        key = new_key()
        alpha, = self.cluster("alpha", arguments=["-encrypt", key, "-log-level", "TRACE"])
        self.assertNotIn(key, alpha.log())
        self.assertNotIn(key, alpha.cli("info").stdout)


if __name__ == "__main__":
    harness.main()
