# SPDX-License-Identifier: Apache-2.0
"""A query gathers answers, ends as early as it can, and says what went wrong where."""

import json
import os
import re
import signal
import time

import harness
from harness import Case, sanitized, takes, timed

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
        for arguments in (("-tag", "role=data"), ("-node", "beta"), ("-node", "b*"),
                          ("-node", "?eta", "-status", "healthy")):
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
        self.assertIn("No answer from: alpha, beta (no handler for it)", text)
        self.assertLess(seconds, 20)

    def test_status_must_be_one_of_those_that_run(self):
        alpha, = self.cluster("alpha")
        done = alpha.cli("query", "-status", "failed", "x", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("only members that run", done.stderr)
        text, _ = self.query(alpha, "-status", "degraded", "x")
        self.assertIn("Total Acks: 0", text)

    @sanitized
    def test_limit_ends_it_and_spares_the_others(self):
        agents = self.cluster("alpha", "beta", "gamma", arguments=[
            "-event-handler", "query:slow=[ $SERF_SELF_NAME = alpha ] || sleep 15; "
                              "echo $SERF_SELF_NAME",
            "-event-handler", "user=sleep 2"])
        text, seconds = self.query(agents[0], "-timeout", "40s", "-limit", "1", "slow")
        self.assertIn("Response from 'alpha': alpha", text)
        self.assertIn("Total Responses: 1", text)
        self.assertIn("Ended at the limit of 1 response", text)
        self.assertNotIn("No answer from", text)
        self.assertLess(seconds, 12)
        # A second one waits for its turn behind the first, and is given up before it comes.
        self.query(agents[0], "-timeout", "40s", "-limit", "1", "slow")
        harness.wait_for(lambda: self.drops(agents[1])["handlers.runs_not_wanted"] == "1",
                         "beta does not run what nobody waits for")

    def test_several_handlers_of_one_member(self):
        handlers = ["-event-handler", "query:load=echo one",
                    "-event-handler", "query=sleep 0.3; echo two",
                    "-event-handler", "query:load=exit 7", "-event-handler", "*=true"]
        alpha, beta = self.cluster("alpha", "beta", arguments=handlers)
        text, _ = self.query(alpha, "-timeout", "40s", "load")
        for name in ("alpha", "beta"):
            self.assertIn(f"Response from '{name}': one\n", text)
            self.assertIn(f"Response from '{name}' (query=sleep 0.3; echo two): two\n", text)
            self.assertIn(f"Failure from '{name}' (query:load=exit 7): exit status 7\n", text)
        self.assertIn("Total Responses: 4", text)
        answers = json.loads(beta.cli("query", "-format", "json", "load").stdout)
        self.assertEqual(answers["Responses"], {"alpha": "one\n", "beta": "one\n"})
        self.assertEqual([one["Payload"] for one in answers["Handlers"]["beta"]],
                         ["one\n", "two\n"])
        self.assertEqual({failure["ExitStatus"] for failure in answers["Failures"]}, {7})

    def test_why_there_is_no_answer(self):
        handler = ["-event-handler", "query:x=case $SERF_SELF_NAME in alpha) echo fine;; "
                                     "beta) sleep 30;; gamma) ;; delta) while [ ! -e over ]; do sleep 0.1; done;; esac"]
        alpha, beta, gamma, delta = self.cluster("alpha", "beta", "gamma", "delta",
                                                 arguments=handler)
        query = alpha.spawn_cli("query", "-format", "json", "-timeout", "25s", "-node", "*",
                                "-node", "nobody", "x")
        harness.wait_for(lambda: delta.info()["handlers"]["running"] == "1", "delta runs it")
        delta.kill()
        harness.write_file(delta.path("over"), "")  # its handler outlives it
        answers = json.loads(query.communicate()[0])
        self.assertEqual(answers["Responses"], {"alpha": "fine\n"})
        self.assertEqual(answers["NoAnswer"], ["gamma"])
        self.assertEqual(answers["Silent"], {"delta": "failed", "nobody": "unknown"})
        self.assertEqual([(failure["Node"], failure["Error"]) for failure in answers["Failures"]],
                         [("beta", "still running at the query's deadline")])
        self.assertEqual(answers["Addressed"], 4)

    @takes(120)
    def test_a_slow_reader_gets_every_answer(self):
        """More than the kernel and the agent's queue for one client hold."""
        agents = self.cluster(*(f"n{number}" for number in range(16)), arguments=[
            "-event-handler", f"query:dump=head -c {LARGEST} /dev/zero | tr '\\0' x"])
        query = agents[0].spawn_cli("query", "-timeout", "60s", "dump")
        harness.wait_for(lambda: query.stdout.read(1), "it has begun")
        query.send_signal(signal.SIGSTOP)
        harness.wait_for(lambda: int(agents[0].info()["handlers"]["succeeded"]) >= 1, "it answers")
        harness.wait_for(lambda: all(int(agent.info()["handlers"]["succeeded"]) >= 1
                                     for agent in agents), "all have answered", 60)
        query.send_signal(signal.SIGCONT)
        text = query.communicate()[0]
        self.assertEqual(text.count("x" * LARGEST + "\n"), 16)
        self.assertIn("Total Responses: 16", text)
        self.assertEqual(self.drops(agents[0])["control.answers_client_slow"], "0")

    def test_slow_answer_is_waited_for(self):
        agents = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "query:slow=sleep 2; echo done"])
        text, _ = self.query(agents[0], "-timeout", "40s", "slow")
        self.assertIn("Total Responses: 2", text)

    def drops(self, agent):
        return agent.info()["drops"]


class Limits(Case):
    def test_sending_too_fast_is_refused_and_reload_changes_the_rate(self):
        agent = self.agent("alpha", "-event-rate", "1", "-event-burst", "3", "-query-rate", "1",
                           "-query-burst", "1").launch()
        agent.ready()
        done = [agent.cli("event", "-coalesce=false", "deploy", str(number), check=False)
                for number in range(4)]
        self.assertEqual([one.returncode for one in done[:3]], [0, 0, 0])
        refused = [one for one in done if one.returncode != 0] or [
            agent.cli("event", "deploy", check=False)]
        self.assertRegex(refused[0].stderr, r"refused, nothing was sent: .*at most 1 user events a "
                                            r"second, after 3 at once; retry in \d+ ms, or raise "
                                            r"event_rate and event_burst")
        agent.cli("query", "x")
        done = agent.cli("query", "x", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("query_rate and query_burst", done.stderr)
        drops = agent.info()["drops"]
        self.assertGreaterEqual(int(drops["core.events_rate"]), 1)
        self.assertEqual(drops["core.queries_rate"], "1")

    @takes(120)
    @timed
    def test_a_burst_of_a_thousand_is_let_through(self):
        agent, = self.cluster("alpha")
        socket = agent.control
        script = ("for i in $(seq 1000); do \"$0\" event -control \"$1\" -coalesce=false burst $i "
                  ">/dev/null || exit 1; done")
        harness.run("sh", "-c", script, harness.BINARY, socket)
        self.assertEqual(agent.info()["drops"]["core.events_rate"], "0")

    def test_each_drop_is_described(self):
        agent, = self.cluster("alpha")
        with open(os.path.join(harness.ROOT, "docs", "cli.md"), encoding="utf-8") as file:
            text = file.read()
        described = set(re.findall(r"^\| `((?:control|core|handlers|network|store|trust)\.[a-z_]+)` \|",
                                   text, re.MULTILINE))
        self.assertEqual(described, set(agent.info()["drops"]))


if __name__ == "__main__":
    harness.main()
