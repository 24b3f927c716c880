# SPDX-License-Identifier: Apache-2.0
"""A query gathers answers, ends as early as it can, and says what went wrong where."""

import json
import signal
import time

import harness
from harness import Case, sanitized, takes

LARGEST = 1 << 20


class Queries(Case):
    def query(self, agent, *arguments, check=True):
        """(output, seconds)"""
        started = time.monotonic()
        done = agent.cli("query", *arguments, check=check)
        return done.stdout + done.stderr, time.monotonic() - started

    @sanitized
    def test_ends_when_everyone_has_answered(self):
        agents = self.cluster("alpha", "beta", "gamma", arguments=[
            "-event-handler", "query:load=echo load of $SERF_SELF_NAME"])
        text, seconds = self.query(agents[0], "-timeout", "40s", "load")
        for agent in agents:
            self.assertIn(f"Ack from '{agent.name}'", text)
            self.assertIn(f"Response from '{agent.name}': load of {agent.name}", text)
        self.assertIn("Total Acks: 3", text)
        self.assertIn("Total Responses: 3", text)
        self.assertLess(seconds, 20)

    def test_payload_and_environment(self):
        agents = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "query:ask=echo $SERF_EVENT $SERF_QUERY_NAME; cat"])
        answers = json.loads(agents[1].cli("query", "-format", "json", "ask", "how?").stdout)
        self.assertEqual(sorted(answers["Acks"]), ["alpha", "beta"])
        for agent in agents:
            self.assertEqual(answers["Responses"][agent.name].rstrip("\n"), "query ask\nhow?")

    def test_filters(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "query:who=echo $SERF_SELF_NAME"])
        beta.cli("tags", "-set", "role=database")
        harness.wait_for(lambda: alpha.member("beta")["tags"], "alpha sees the tag")
        for arguments in (("-tag", "role=data"), ("-node", "beta")):
            text, _ = self.query(alpha, "-no-ack", *arguments, "who")
            self.assertIn("Response from 'beta': beta", text)
            self.assertNotIn("alpha", text)

    @sanitized
    def test_failures_are_shown(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "query:check=[ $SERF_SELF_NAME = alpha ] && echo fine && exit; "
                              "echo the disk is full >&2; exit 3"])
        text, seconds = self.query(alpha, "-timeout", "40s", "check", check=False)
        self.assertIn("Response from 'alpha': fine", text)
        self.assertRegex(text, r"Failure from 'beta': .*3(.|\n)*the disk is full")
        self.assertLess(seconds, 20)

    @takes(90)
    def test_largest_answer(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", f"query:dump=head -c {LARGEST} /dev/zero | tr '\\0' x"])
        answers = json.loads(alpha.cli("query", "-format", "json", "-timeout", "40s",
                                       "dump").stdout)
        for name in ("alpha", "beta"):
            self.assertEqual(len(answers["Responses"][name]), LARGEST)
            self.assertEqual(set(answers["Responses"][name]), {"x"})
        self.assertTrue(beta.sees(alpha="alive", beta="alive"))

    def test_too_large_an_answer(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", f"query:dump=head -c {LARGEST + 1} /dev/zero | tr '\\0' x"])
        text, seconds = self.query(alpha, "-timeout", "40s", "dump", check=False)
        self.assertNotIn("xxxx", text)
        for agent in (alpha, beta):
            self.assertRegex(text, f"Failure from '{agent.name}': .*{LARGEST + 1}.*{LARGEST}")
        self.assertLess(seconds, 20)

    def test_silent_member_is_listed(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma", arguments=[
            "-event-handler", "query:load=echo $SERF_SELF_NAME", "-profile", "wan"])
        gamma.signal(signal.SIGSTOP)
        text, _ = self.query(alpha, "-timeout", "3s", "load", check=False)
        self.assertIn("Response from 'beta': beta", text)
        self.assertIn("Total Responses: 2", text)
        self.assertIn("No answer from: gamma", text)
        gamma.signal(signal.SIGCONT)

    def test_no_handler_is_no_answer(self):
        agents = self.cluster("alpha", "beta")
        text, seconds = self.query(agents[0], "-timeout", "40s", "nobody-handles-this")
        self.assertIn("Total Acks: 2", text)
        self.assertIn("Total Responses: 0", text)
        self.assertLess(seconds, 20)

    def test_slow_answer_is_waited_for(self):
        agents = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "query:slow=sleep 2; echo done"])
        text, _ = self.query(agents[0], "-timeout", "40s", "slow")
        self.assertIn("Total Responses: 2", text)


if __name__ == "__main__":
    harness.main()
