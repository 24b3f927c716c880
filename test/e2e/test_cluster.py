# SPDX-License-Identifier: Apache-2.0
"""Clusters form, notice a death, tell a leave from it, and heal."""

import signal
import time
import unittest

import harness
from harness import Case, sanitized, takes, wait_for, write_file


class Formation(Case):
    @sanitized
    def test_three_form(self):
        agents = self.cluster("alpha", "beta", "gamma", arguments=["-tag", "role=web"])
        for agent in agents:
            listed = agent.json("members")["members"]
            self.assertEqual([member["name"] for member in listed], ["alpha", "beta", "gamma"])
            for member, other in zip(listed, agents):
                self.assertEqual(member["addr"], other.endpoint)
                self.assertEqual(member["tags"], {"role": "web"})
        text = agents[0].cli("members").stdout
        for agent in agents:
            line = next(line for line in text.splitlines() if line.split()[:1] == [agent.name])
            self.assertEqual(line.split()[1:4], [agent.endpoint, "alive", "role=web"])

    def test_join_by_command(self):
        alpha, beta = self.agent("alpha").start(), self.agent("beta").start()
        said = beta.cli("join", alpha.endpoint).stdout
        self.assertIn("Successfully joined cluster by contacting 1 nodes.", said)
        self.wait_formed([alpha, beta])

    def test_join_nobody(self):
        alpha = self.agent("alpha").start()
        nobody = f"{self.network}.200:7946"
        tried = alpha.cli("join", nobody, check=False)
        self.assertEqual(tried.returncode, 1)
        self.assertIn(nobody, tried.stdout + tried.stderr)

    def test_start_join_nobody_fails(self):
        alpha = self.agent("alpha", "-join", f"{self.network}.200:7946").launch()
        self.assertEqual(alpha.wait(30), 1)
        self.assertIn(f"{self.network}.200:7946", alpha.log())

    @takes(150, processors=2)
    def test_thirty_form_and_notice_a_death(self):
        names = [f"node{number:02}" for number in range(30)]
        agents = self.cluster(*names, formed=60)
        agents[7].kill()
        others = agents[:7] + agents[8:]
        self.wait_seen(others, 30, node07="failed")
        for agent in others:
            statuses = list(agent.members().values())
            self.assertEqual(statuses.count("alive"), 29, statuses)


class Death(Case):
    @sanitized
    def test_killed_member_fails_everywhere(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.kill()
        self.wait_seen([alpha, beta], gamma="failed", alpha="alive", beta="alive")

    def test_stopped_process_fails_and_comes_back(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.signal(signal.SIGSTOP)
        self.wait_seen([alpha, beta], 60, gamma="failed")
        gamma.signal(signal.SIGCONT)
        self.wait_formed([alpha, beta, gamma], 60)

    @sanitized
    def test_restarted_member_rejoins_by_itself(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        identity = alpha.member("gamma").get("id")
        # Nobody tells it where the others are: only its own data folder does.
        gamma.command = [part for part in gamma.command
                         if part not in ("-retry-join", alpha.endpoint, "-retry-interval", "1s")]
        gamma.kill()
        self.wait_seen([alpha, beta], gamma="failed")
        gamma.start()
        self.wait_formed([alpha, beta, gamma])
        self.assertEqual(alpha.member("gamma").get("id"), identity)

    def test_whole_cluster_restarts(self):
        agents = self.cluster("alpha", "beta", "gamma")
        for agent in agents:
            agent.kill()
        for agent in reversed(agents):
            agent.start()
        self.wait_formed(agents)

    def test_replaced_host_takes_its_name_over(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.kill()
        address = f"{self.network}.99"
        replaced = self.agent("gamma2", address=address, join=[alpha.endpoint])
        replaced.command[replaced.command.index("gamma2")] = "gamma"
        replaced.start()

        def taken_over():
            seen = [agent.member("gamma") for agent in (alpha, beta)]
            return all(each["addr"] == replaced.endpoint and each["status"] == "alive"
                       for each in seen)
        wait_for(taken_over, "the new gamma is alive at its new address")


class Leaving(Case):
    @sanitized
    def test_leave(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.cli("leave")
        self.assertEqual(gamma.wait(), 0)
        self.wait_seen([alpha, beta], gamma="left")

    def test_interrupt_leaves(self):
        alpha, beta = self.cluster("alpha", "beta")
        beta.signal(signal.SIGINT)
        self.assertEqual(beta.wait(), 0)
        self.wait_seen([alpha], beta="left")

    def test_terminate_does_not_leave(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        beta.signal(signal.SIGTERM)
        beta.wait()
        self.wait_seen([alpha, gamma], beta="failed")

    def test_terminate_leaves_when_told_to(self):
        config = write_file(f"{self.folder}/leave.yaml", "leave_on_terminate: true\n")
        alpha, beta = self.cluster("alpha", "beta", arguments=["-config-file", config])
        beta.signal(signal.SIGTERM)
        self.assertEqual(beta.wait(), 0)
        self.wait_seen([alpha], beta="left")

    def test_force_leave(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.kill()
        self.wait_seen([alpha, beta], gamma="failed")
        alpha.cli("force-leave", "gamma")
        self.wait_seen([alpha, beta], gamma="left")

    def test_force_leave_prune_erases(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma")
        gamma.kill()
        self.wait_seen([alpha, beta], gamma="failed")
        alpha.cli("force-leave", "-prune", "gamma")
        for agent in (alpha, beta):
            wait_for(lambda agent=agent: "gamma" not in agent.members(),
                     f"{agent.name} has forgotten gamma")

    def test_left_member_comes_back_when_started_again(self):
        alpha, beta = self.cluster("alpha", "beta")
        beta.cli("leave")
        beta.wait()
        self.wait_seen([alpha], beta="left")
        beta.start()  # -retry-join is an order to join
        self.wait_formed([alpha, beta])


class Tags(Case):
    @sanitized
    def test_live_update(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=["-tag", "dc=east"])
        beta.cli("tags", "-set", "role=db", "-set", "rack=7", "-delete", "dc")
        wait_for(lambda: alpha.member("beta")["tags"] == {"role": "db", "rack": "7"},
                 "alpha sees the new tags")
        found = alpha.json("members", "-tag", "role=d.")["members"]
        self.assertEqual([member["name"] for member in found], ["beta"])

    def test_live_tags_survive_a_restart(self):
        alpha, beta = self.cluster("alpha", "beta")
        beta.cli("tags", "-set", "role=db")
        wait_for(lambda: alpha.member("beta")["tags"] == {"role": "db"}, "alpha sees the tag")
        beta.kill()
        beta.start()
        self.wait_formed([alpha, beta])
        wait_for(lambda: alpha.member("beta")["tags"] == {"role": "db"}, "the tag is still there")

    def test_reload(self):
        """SIGHUP takes handlers, tags and log level from the file, and keeps live tags."""
        config = write_file(f"{self.folder}/agent.yaml", "tags:\n  version: one\nlog_level: INFO\n")
        alpha = self.agent("alpha", "-config-file", config)
        at = alpha.command.index("-log-level")
        del alpha.command[at:at + 2]  # the file shall decide
        alpha.start()
        beta = self.agent("beta", join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        alpha.cli("tags", "-set", "live=yes")
        wait_for(lambda: beta.member("alpha")["tags"] == {"version": "one", "live": "yes"},
                 "beta sees both tags")
        write_file(config, "tags:\n  version: two\nlog_level: DEBUG\n"
                   "event_handlers:\n  - user:hello=cat >> heard\n")
        self.assertNotIn("debug", alpha.log().lower())
        alpha.signal(signal.SIGHUP)
        wait_for(lambda: beta.member("alpha")["tags"] == {"version": "two", "live": "yes"},
                 "the configured tag changes, the live one stays")
        beta.cli("event", "-coalesce=false", "hello", "world")
        wait_for(lambda: alpha.read("heard") == "world\n", "the new handler runs")
        wait_for(lambda: "debug" in alpha.log().lower(), "the log level is DEBUG")

    def test_reload_of_a_broken_file_changes_nothing(self):
        config = write_file(f"{self.folder}/agent.yaml", "tags: {version: one}\n")
        alpha = self.agent("alpha", "-config-file", config).start()
        write_file(config, "tgas: {version: two}\n")
        alpha.signal(signal.SIGHUP)
        wait_for(lambda: f"{config}:1:1" in alpha.log(), "the log names the place")
        self.assertEqual(alpha.member("alpha")["tags"], {"version": "one"})
        self.assertTrue(alpha.running())


class Quiet(Case):
    @takes(300, processors=2)
    @harness.soak
    def test_reload_storm(self):
        """SIGHUP at a high rate for a minute: the agent stays, and so does its state."""
        alpha, beta = self.cluster("alpha", "beta")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            alpha.signal(signal.SIGHUP)
            alpha.sees(alpha="alive", beta="alive")


if __name__ == "__main__":
    harness.main()
