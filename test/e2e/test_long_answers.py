# SPDX-License-Identifier: Apache-2.0
"""Answers that take long: `query -wait-jobs` and `event -wait` follow jobs on many hosts to their end."""

import json
import os
import pty
import re
import select
import subprocess
import time

import harness
from harness import Case, sanitized, takes, wait_for

CONFIG = """event_handlers:
  - name: deploy
    on: [query:deploy, user:deploy]
    run: |
      read -r version
      echo "deploying $version on $SERF_SELF_NAME"
      while [ ! -e go ]; do sleep 0.05; done
      [ ! -e fail ] || exit 4
    mode: job
"""


class LongAnswers(Case):
    def hosts(self, *names, more=""):
        config = harness.write_file(f"{self.folder}/deploy.yaml", CONFIG + more)
        agents = self.cluster(*names, arguments=["-config-file", config])
        for agent in agents:
            self.addCleanup(harness.write_file, agent.path("go"), "")
        return agents

    def go(self, agent):
        harness.write_file(agent.path("go"), "")

    @sanitized
    def test_a_query_is_answered_at_once_and_followed_to_the_end(self):
        agents = self.hosts("alpha", "beta")
        # Without -wait-jobs: a number, while the handler goes on.
        self.assertIn("Response from 'beta': job:1\n",
                      agents[0].cli("query", "deploy", "v1").stdout)
        for agent in agents:
            self.assertEqual(agent.json("job", "show", "1")["jobs"][0]["state"], "running")
            self.go(agent)
            wait_for(lambda agent=agent: agent.json("job", "show", "1")["jobs"][0]["state"]
                     == "succeeded", "it has ended")
            os.unlink(agent.path("go"))
        following = agents[0].spawn_cli("query", "-wait-jobs", "deploy", "v2")
        seen = ""
        while not ("alpha  job 2  running" in seen and "beta  job 2  running" in seen):
            seen += following.stdout.readline()
        for agent in agents:
            self.go(agent)
        rest, errors = following.communicate(timeout=30 * harness.SCALE)
        self.assertEqual(errors, "")
        for name in ("alpha", "beta"):
            self.assertRegex(rest, rf"(?m)^{name}  job 2  succeeded  \S+  deploy$")
        self.assertTrue(rest.endswith("Jobs: 2 succeeded\n"), rest)
        self.assertEqual(following.returncode, 0)

    def test_one_failure_is_a_failure(self):
        agents = self.hosts("alpha", "beta")
        for agent in agents:
            self.go(agent)
        harness.write_file(agents[1].path("fail"), "")
        done = agents[0].cli("query", "-wait-jobs", "-format", "json", "deploy", "v1", check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual({job["node"]: (job["state"], job["reason"]) for job in result["jobs"]},
                         {"alpha": ("succeeded", ""), "beta": ("failed", "exit status 4")})
        self.assertFalse(result["succeeded"])
        self.assertEqual(sorted(result["Acks"]), ["alpha", "beta"])
        none = agents[0].cli("query", "-wait-jobs", "nobody-knows-it", check=False)
        self.assertEqual(none.returncode, 1)
        self.assertIn("Jobs: none", none.stdout)

    @sanitized
    def test_an_event_is_followed_through_restarts(self):
        alpha, beta = self.hosts("alpha", "beta")
        idle = self.agent("idle", join=[alpha.endpoint])
        idle.start()
        self.wait_formed([alpha, beta, idle])
        following = alpha.spawn_cli("event", "-wait", "-format", "json", "-coalesce=false",
                                    "deploy", "v1")
        for agent in (alpha, beta):
            wait_for(lambda agent=agent: [job["state"] for job in agent.json("job", "list")["jobs"]]
                     == ["running"], f"it runs on {agent.name}")
        # Neither the host that runs a job nor the one that asks need stay up meanwhile.
        for agent in (beta, alpha):
            agent.kill()
            agent.start()
        self.wait_formed([alpha, beta, idle])
        for agent in (alpha, beta):
            self.go(agent)
        text, errors = following.communicate(timeout=60 * harness.SCALE)
        result = json.loads(text)
        self.assertEqual({job["node"]: job["state"] for job in result["jobs"]},
                         {"alpha": "succeeded", "beta": "succeeded"})
        self.assertEqual(result["no_handler"], ["idle"])
        self.assertEqual(result["no_answer"], {})
        self.assertEqual((following.returncode, errors), (0, ""))

    def test_events_that_are_coalesced_are_followed_as_well(self):
        # Long enough for a slow machine: the third has to come before the second is handled.
        alpha, = self.hosts("alpha", more="    coalesce: {quiet: 20s, longest: 40s}\n")
        self.go(alpha)
        self.assertEqual(alpha.cli("event", "-wait", "deploy", "v1").returncode, 0)
        first = alpha.spawn_cli("event", "-wait", "deploy", "v2")
        wait_for(lambda: len(alpha.json("events")["events"]) == 2, "the second is sent")
        alpha.cli("event", "deploy", "v3")
        text, _ = first.communicate(timeout=30 * harness.SCALE)
        self.assertEqual(first.returncode, 1)
        self.assertRegex(text, r"alpha  job \d+  skipped +- +deploy +\S.*newer")

    def test_the_wait_may_be_limited(self):
        alpha, = self.hosts("alpha")
        limit = f"{2 * harness.SCALE:.0f}s"
        done = alpha.cli("event", "-wait", "-wait-timeout", limit, "deploy", "v1", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no answer", done.stdout)
        self.assertIn("it had not ended when the wait did", done.stdout)
        self.assertEqual(alpha.json("job", "list")["jobs"][0]["state"], "running")

    @takes(90)
    def test_a_terminal_gets_a_table_that_changes(self):
        alpha, = self.hosts("alpha")
        leader, follower = pty.openpty()
        environment = dict(alpha.environment, TERM="xterm")
        with subprocess.Popen([harness.BINARY, "query", "-control", alpha.control, "-wait-jobs",
                               "deploy", "v1"], stdin=subprocess.DEVNULL, stdout=follower,
                              env=environment) as asker:
            os.close(follower)
            screen = b""

            def read_until(text):
                nonlocal screen
                deadline = time.monotonic() + 20 * harness.SCALE
                while not re.search(text, screen) and time.monotonic() < deadline:
                    if select.select([leader], [], [], 0.2)[0]:
                        try:
                            screen += os.read(leader, 65536)
                        except OSError:  # the other end is closed
                            break
                if not re.search(text, screen):
                    asker.kill()
                self.assertRegex(screen, text)
            read_until(rb"running\x1b\[0m")
            read_until(rb"\x1b\[2A\r\x1b\[J")  # the two lines are drawn again
            read_until(rb"  ([2-9]|\d\d)s  ")
            self.go(alpha)
            read_until(rb"Jobs: 1 succeeded\x1b\[\?7h\r\n")
            self.assertEqual(asker.wait(20), 0)
        os.close(leader)


if __name__ == "__main__":
    harness.main()
