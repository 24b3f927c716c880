# SPDX-License-Identifier: Apache-2.0
"""npm's client for Serf, node-serf, against our agent. Skipped where npm's registry is not.

Needs node and npm; test/run.sh installs Debian's packages nodejs and npm where both are missing."""

import json
import os
import shutil
import subprocess

import harness
from harness import Case, takes, wait_for

NODE, NPM = shutil.which("node"), shutil.which("npm")
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "client.js")
PACKAGE = "node-serf@2.0.0"


class NodeClient(Case):
    def installed(self):
        """A folder with the package, or the test is skipped."""
        self.assertTrue(NODE and NPM, "needs node and npm (Debian's packages nodejs and npm)")
        try:
            done = subprocess.run(
                [NPM, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
                 "--fetch-retries=1", "--fetch-retry-mintimeout=1000",
                 "--prefix", self.folder, PACKAGE], stdin=subprocess.DEVNULL, capture_output=True,
                text=True, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            self.skipTest("the package registry does not answer")
        if done.returncode != 0:
            self.skipTest(f"npm cannot get {PACKAGE}: {done.stderr.strip()[-200:]}")
        return os.path.join(self.folder, "node_modules")

    @takes(180)
    def test_node_serf(self):
        modules = self.installed()
        alpha = self.agent("alpha", rpc=f"{self.network}.1:7373").start()
        beta = self.agent("beta", "-event-handler", "query:load=echo handler of $SERF_SELF_NAME",
                          join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        done = subprocess.run([NODE, SCRIPT, alpha.address, "7373"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=60 * harness.SCALE, env=dict(os.environ, NODE_PATH=modules))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        said = {each["step"]: each["value"] for each in map(json.loads, done.stdout.splitlines())}
        self.assertEqual(sorted(said["members"]), [
            [name, f"{self.network}.{number}", 7946, "alive", {}]
            for number, name in ((1, "alpha"), (2, "beta"))])
        self.assertEqual(said["filtered"], ["beta"])
        self.assertEqual(said["stats"], "alpha")
        self.assertIs(said["coordinate"], True)
        self.assertEqual(said["seen"], [["user", "deploy", "v1"], ["query", "load", "now"]])
        answers = said["answers"]
        for name in ("alpha", "beta"):
            self.assertIn(["ack", name, ""], answers)
        self.assertIn(["response", "beta", "handler of beta\n"], answers)
        self.assertIn(["response", "alpha", "from node"], answers)
        self.assertEqual(said["after stop"], 2)
        self.assertTrue(said["refused"])
        wait_for(lambda: beta.member("alpha")["tags"] == {"rack": "7"}, "beta sees the tag")


if __name__ == "__main__":
    harness.main()
