# SPDX-License-Identifier: Apache-2.0
"""What an operator relies on for a deploy: events that are durable, whole, in order, once, confirmed.

STARLING_BURST_MEMBERS, STARLING_BURST_SENDERS and STARLING_BURST_EVENTS set the size of the burst; the
issue's is 60, 10 and 1000."""

import collections
import json
import os
import subprocess
import threading
import time

import harness
from harness import BINARY, Case, sanitized, takes, wait_for, write_file

HANDLER = ["-event-handler", "user:count=cat >> heard"]


class Send(Case):
    @sanitized
    def test_payload_from_input_and_file(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "user:big=head -c 204800 | md5sum >> heard"])
        payload = os.urandom(200 * 1024)
        path = os.path.join(self.folder, "payload")
        with open(path, "wb") as file:
            file.write(payload)
        alpha.cli("event", "-coalesce=false", "-payload-file", path, "big")
        with open(path, "rb") as file:
            alpha.cli("event", "-coalesce=false", "big", "-", stdin=file)
        digest = subprocess.run(["md5sum"], input=payload, stdout=subprocess.PIPE,
                                check=True).stdout.decode()
        for agent in (alpha, beta):
            def whole(agent=agent):
                assert agent.read("heard") == 2 * digest, agent.read("heard")
                return True
            wait_for(whole, f"{agent.name} has both, whole")

    def test_over_a_mebibyte_is_refused(self):
        alpha, = self.cluster("alpha")
        path = write_file(os.path.join(self.folder, "payload"), "x" * (1024 * 1024 + 1))
        tried = alpha.cli("event", "-payload-file", path, "big", check=False)
        self.assertEqual(tried.returncode, 1)
        self.assertIn("1 MiB", tried.stderr)

    @takes(90)
    def test_confirm_names_who_has_it_and_who_has_not(self):
        alpha, beta, gamma = self.cluster("alpha", "beta", "gamma", profile="lan")
        said = alpha.cli("event", "-confirm", "deploy", "one").stdout
        self.assertIn("Confirmed by 3 of 3 live members", said)
        gamma.signal(19)  # SIGSTOP: believed alive for some seconds
        tried = alpha.cli("event", "-confirm", "-timeout", "1s", "deploy", "two", check=False)
        self.assertEqual(tried.returncode, 1, tried.stdout)
        self.assertIn("Confirmed by 2 of 3 live members\nNot confirmed by: gamma\n", tried.stdout)
        gamma.signal(18)
        wait_for(lambda: alpha.cli("event", "-confirm", "deploy", "three").returncode == 0,
                 "everybody confirms again")

    def test_events_are_listed_with_their_reach(self):
        alpha, beta = self.cluster("alpha", "beta")
        alpha.cli("event", "-confirm", "deploy", "12345")
        beta.cli("event", "-confirm", "other")
        listed = alpha.json("events")
        self.assertEqual([(event["origin"], event["name"], event["size"], event["timing"])
                          for event in listed["events"]],
                         [("beta", "other", 0, "live"), ("alpha", "deploy", 5, "live")])
        self.assertEqual(listed["live"], 2)
        wait_for(lambda: [event["reach"] for event in alpha.json("events")["events"]] == [2, 2],
                 "all reach is known")
        self.assertLess(abs(listed["events"][0]["sent_ms"] / 1000 - time.time()), 60)
        self.assertEqual(len(alpha.json("events", "-limit", "1")["events"]), 1)
        self.assertEqual([event["name"] for event in
                          alpha.json("events", "-name", "dep.*")["events"]], ["deploy"])
        line = alpha.cli("events", "-name", "deploy").stdout
        self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d  alpha  deploy  5 B  2/2\n$")


class Missed(Case):
    """A member that was away, and what its handlers want of what it missed."""

    CONFIG = """event_handlers:
  - filter: user:count
    command: cat >> heard
  - filter: user:count
    command: cat >> all
    missed: all
  - filter: user:count
    command: cat >> latest
    missed: latest
  - filter: user:count
    command: cat >> none
    missed: none
"""

    def wait_read(self, agent, **files):
        for name, text in files.items():
            def has(name=name, text=text):
                heard = agent.read(name).split()
                assert heard == text.split(), heard
                return True
            wait_for(has, f"{agent.name} has '{text}' in {name}")

    @takes(120)
    def test_policy_of_a_member_that_returns(self):
        alpha, = self.cluster("alpha")
        config = write_file(os.path.join(self.folder, "missed.yaml"), self.CONFIG)
        beta = self.agent("beta", "-config-file", config, join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        alpha.cli("event", "-coalesce=false", "count", "live")
        self.wait_read(beta, heard="live", all="live", latest="live", none="live")
        beta.kill()
        # What is still on its way to a member that is back soon is no missed event.
        wait_for(lambda: alpha.sees(beta="failed"), "alpha has noticed")
        for word in ("one", "two", "three"):
            alpha.cli("event", "-coalesce=false", "count", word)
        beta.start()
        self.wait_read(beta, heard="live one two three", all="live one two three",
                       latest="live three")
        alpha.cli("event", "-coalesce=false", "count", "again")
        self.wait_read(beta, heard="live one two three again", all="live one two three again",
                       latest="live three again", none="live again")
        self.assertEqual([event["timing"] for event in beta.json("events")["events"]][:2],
                         ["live", "missed"])

    @takes(120)
    def test_policy_at_a_first_join(self):
        alpha, = self.cluster("alpha")
        for word in ("one", "two"):
            alpha.cli("event", "-coalesce=false", "count", word)
        config = write_file(os.path.join(self.folder, "missed.yaml"), self.CONFIG)
        beta = self.agent("beta", "-config-file", config, join=[alpha.endpoint]).start()
        self.wait_read(beta, all="one two", latest="two")
        alpha.cli("event", "-coalesce=false", "count", "live")
        self.wait_read(beta, heard="live", none="live", all="one two live", latest="two live")


class Crash(Case):
    @takes(120)
    @sanitized
    def test_sender_is_killed_as_soon_as_the_command_returned(self):
        """The event reaches everyone: at once if anybody had it, otherwise when the sender is back."""
        agents = self.cluster("alpha", "beta", "gamma", arguments=HANDLER)
        alpha = agents[0]
        for number in range(3):
            alpha.cli("event", "-coalesce=false", "count", f"e{number}")
            alpha.kill()
            alpha.start()
            for agent in agents:
                wait_for(lambda agent=agent, number=number:
                         f"e{number}" in agent.read("heard").split(),
                         f"{agent.name} has event {number}", 30)
        for agent in agents[1:]:
            self.assertEqual(agent.read("heard").split(), ["e0", "e1", "e2"])

    @takes(120)
    def test_event_that_nobody_else_had(self):
        """Sent while the others were stopped, so that nothing but the sender's disk has it."""
        agents = self.cluster("alpha", "beta", "gamma", arguments=HANDLER, profile="forgiving")
        alpha, others = agents[0], agents[1:]
        for agent in others:
            agent.kill()
        alpha.cli("event", "-coalesce=false", "count", "kept")
        alpha.kill()
        for agent in others:
            agent.start()
        alpha.start()
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard").split() == ["kept"],
                     f"{agent.name} has the event", 60)

    @takes(300)
    @sanitized
    def test_receiver_is_killed_under_events(self):
        """Exactly once and in order for each origin, whatever the moment."""
        agents = self.cluster("alpha", "beta", "gamma", arguments=HANDLER)
        victim = agents[2]
        sent = []
        for number in range(60):
            sender = agents[number % 2]
            sender.cli("event", "-coalesce=false", "count", f"{sender.name}-{number:03}")
            sent.append(f"{sender.name}-{number:03}")
            if number % 20 == 10:
                victim.kill()
            if number % 20 == 15:
                victim.start()
        agents[0].cli("event", "-coalesce=false", "count", "alpha-last")
        sent.append("alpha-last")
        for agent in agents:
            wait_for(lambda agent=agent: len(set(agent.read("heard").split())) >= len(sent) - 3
                     and "alpha-last" in agent.read("heard"), f"{agent.name} has them", 60)
        for agent in agents[:2]:
            self.assertEqual(sorted(agent.read("heard").split()), sorted(sent))
        heard = victim.read("heard").split()
        self.assertEqual([word for word, count in collections.Counter(heard).items() if count > 1],
                         [])
        # One run at each kill may have begun and not ended.
        self.assertGreaterEqual(len(heard), len(sent) - 3)
        for origin in ("alpha", "beta"):
            own = [word for word in heard if word.startswith(origin) and "last" not in word]
            self.assertEqual(own, sorted(own))


class Burst(Case):
    def counters(self, agent):
        info = agent.json("info")["network"]
        return int(info["bytes_sent"]) + int(info["stream_bytes_sent"])

    def fleet(self, count, *arguments):
        names = [f"m{number}" for number in range(count)]
        return self.cluster(*names, arguments=list(arguments), formed=120, profile="lan")

    @takes(900, processors=2)
    def test_burst_arrives_whole_in_order_and_once(self):
        """Each member's monitor sees every event of every sender, in order."""
        members = int(os.environ.get("STARLING_BURST_MEMBERS", "12"))
        senders = int(os.environ.get("STARLING_BURST_SENDERS", "3"))
        events = int(os.environ.get("STARLING_BURST_EVENTS", "100"))
        agents = self.fleet(members, "-event-handler", "user:never=true")
        for agent in agents:
            with open(agent.path("monitor"), "wb") as seen:
                monitor = subprocess.Popen(
                    [BINARY, "monitor", "-control", agent.control, "-format", "json", "-event",
                     "user", "-log-level", "ERR"], stdout=seen, stderr=subprocess.STDOUT,
                    env=agent.environment, preexec_fn=harness._die_with_parent)
            self.addCleanup(monitor.wait)
            self.addCleanup(monitor.kill)

        def watched():
            agents[0].cli("event", "-coalesce=false", "start")
            return all('"start"' in agent.read("monitor") for agent in agents)
        wait_for(watched, "all monitors are there", 60)

        def send(agent):
            for number in range(events):
                agent.cli("event", "-coalesce=false", "count", f"{agent.name}:{number}")
        started = time.monotonic()
        threads = [threading.Thread(target=send, args=(agent,)) for agent in agents[:senders]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sending = time.monotonic() - started

        def payloads(agent):
            records = [json.loads(line) for line in agent.read("monitor").splitlines()]
            self.assertFalse([record for record in records if "dropped" in record], "slow monitor")
            return [record["payload"] for record in records if record.get("name") == "count"]
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("monitor").count('"count"') >=
                     senders * events, f"{agent.name} has all", 120)
        print(f"{senders} x {events} events to {members} members: sent in {sending:.1f} s, all "
              f"there after {time.monotonic() - started:.1f} s")
        for agent in agents:
            heard = payloads(agent)
            self.assertEqual(len(heard), senders * events, agent.name)
            for sender in agents[:senders]:
                numbers = [int(text.split(":")[1]) for text in heard
                           if text.startswith(sender.name + ":")]
                self.assertEqual(numbers, list(range(events)), f"{sender.name} at {agent.name}")

    @takes(400, processors=2)
    def test_sender_of_a_large_event_uploads_four_copies_at_most(self):
        members = int(os.environ.get("STARLING_BURST_MEMBERS", "16"))
        agents = self.fleet(members)
        path = os.path.join(self.folder, "payload")
        with open(path, "wb") as file:
            file.write(os.urandom(200 * 1024))
        before = self.counters(agents[0])
        said = agents[0].cli("event", "-confirm", "-timeout", "60s", "-payload-file", path, "big")
        self.assertIn(f"Confirmed by {members} of {members}", said.stdout)
        copies = (self.counters(agents[0]) - before) / (200 * 1024)
        print(f"200 KiB to {members} members: the sender uploaded {copies:.2f} copies")
        self.assertLess(copies, 4.2)  # what else it says meanwhile is in the count


if __name__ == "__main__":
    harness.main()
