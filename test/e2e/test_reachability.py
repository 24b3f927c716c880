# SPDX-License-Identifier: Apache-2.0
"""`starling reachability` names what is broken between hosts, and why. Network namespaces."""

import json
import os

import harness
from harness import BINARY, Case, needs_root, run, takes, wait_for
from test_netns import Hosts


class Ways(Case):
    """Hosts that see each other, and what one of them finds."""

    def start_hosts(self, count, *arguments):
        hosts = Hosts(self, count)
        # Cleanups run last first: agents stop before their namespaces go.
        self.addCleanup(self._stop_all)
        self.key = run(BINARY, "keygen").stdout.strip()
        agents = []
        for number in range(count):
            join = [f"{hosts.address(0)}:7946"] if number else []
            agents.append(self.agent(f"host{number}", "-encrypt", self.key, *arguments, join=join,
                                     address=hosts.address(number),
                                     namespace=hosts.namespace(number)).launch())
        for agent in agents:
            agent.ready()
        self.wait_formed(agents)
        return hosts, agents

    def find(self, agent):
        return json.loads(agent.cli("reachability", "-format", "json", check=False).stdout)

    def wait_found(self, agent, cause, source, target, *words, seconds=60):
        """Until `agent` finds exactly this to be wrong; the sentence."""
        def found():
            findings = self.find(agent)["findings"]
            seen = [(one["cause"], one["from"], one["to"]) for one in findings]
            assert seen == [(cause, source, target)], json.dumps(findings, indent=1)
            for word in words:
                assert word in findings[0]["text"], findings[0]["text"]
            return findings[0]["text"]
        return wait_for(found, f"{cause} between {source} and {target} is found", seconds)


class Checks(Case):
    # What it saves cannot be counted here: on a busy host late answers open streams of their own.
    def test_whether_tcp_gets_through_is_seen_without_opening_streams(self):
        agents = self.cluster("alpha", "beta")

        def count(agent, name):
            return int(agent.info()["network"][name])
        for agent in agents:
            wait_for(lambda agent=agent: count(agent, "streams_checked") >= 3,
                     f"{agent.name} has checked TCP three times", 30)


@needs_root
class Reachability(Ways):
    @takes(180)
    def test_all_is_well_then_udp_is_blocked_between_two(self):
        hosts, agents = self.start_hosts(3)

        def well():
            shown = agents[0].cli("reachability").stdout
            assert "?" not in shown, shown
            return shown
        shown = wait_for(well, "everybody has probed everybody")
        self.assertIn("Successfully contacted all live nodes", shown)
        self.assertEqual(shown.count("direct"), 6, shown)
        hosts.block(0, 2, "udp")
        hosts.block(2, 0, "udp")
        self.wait_found(agents[1], "udp", ["host0"], ["host2"], "host0 <-> host2",
                        "through host1", "UDP port 7946 is blocked")
        shown = agents[0].cli("reachability", check=False)
        self.assertEqual(shown.returncode, 1)
        self.assertIn("via host1", shown.stdout)
        self.assertIn("* host0 <-> host2: not directly", shown.stdout)
        for agent in agents:
            agent.sees(host0="alive", host1="alive", host2="alive")

    @takes(180)
    def test_udp_is_blocked_in_one_direction(self):
        hosts, agents = self.start_hosts(3)
        hosts.block(0, 2, "udp")
        self.wait_found(agents[1], "udp", ["host0"], ["host2"], "host0 -> host2",
                        "UDP to port 7946 of host2 is blocked")

    @takes(180)
    def test_tcp_is_blocked_between_two(self):
        hosts, agents = self.start_hosts(3)
        hosts.block(0, 2, "tcp")
        hosts.block(2, 0, "tcp")
        self.wait_found(agents[1], "tcp", ["host0"], ["host2"], "host0 <-> host2",
                        "TCP port 7946 is blocked", seconds=90)

    @takes(180)
    def test_one_way(self):
        hosts, agents = self.start_hosts(3)
        hosts.cut_one_way(2, 0)
        self.wait_found(agents[1], "one-way", ["host2"], ["host0"], "host2 -> host0",
                        "nothing gets from host2 to host0")

    @takes(180)
    def test_wrong_key(self):
        hosts, agents = self.start_hosts(3)
        agents[2].kill()
        at = agents[2].command.index("-encrypt") + 1
        agents[2].command[at] = run(BINARY, "keygen").stdout.strip()
        agents[2].start()
        self.wait_found(agents[0], "key", ["host2"], ["host0", "host1"],
                        "give host2 the cluster's key")
        # Seen from the one that is wrong: everybody else is.
        self.wait_found(agents[2], "key", ["host2"], [hosts.address(0), hosts.address(1)],
                        "give host2 the cluster's key")

    @takes(180)
    def test_clock_set_back(self):
        """The identity is kept, the number of the last start is lost, and the clock says it is
        earlier than it was at that start."""
        hosts, agents = self.start_hosts(3)
        agents[2].kill()
        epoch = os.path.join(agents[2].folder, "data", "epoch")
        with open(epoch, encoding="ascii") as file:
            now = file.read()
        later = int(now) + 100_000
        with open(epoch, "w", encoding="ascii") as file:
            file.write(f"{later}\n")
        agents[2].start()
        for agent in agents[:2]:
            wait_for(lambda agent=agent: int(agent.member("host2")["incarnation"]) >> 32 > later
                     and agent.member("host2")["rtt_ms"] is not None,
                     f"{agent.name} has heard the start of later")
        # And from itself: it has been told by another member otherwise, and believes the next start.
        wait_for(lambda: all(agents[2].member(agent.name)["rtt_ms"] is not None
                             for agent in agents[:2]), "both have answered the start of later")
        agents[2].kill()
        with open(epoch, "w", encoding="ascii") as file:
            file.write(now)
        agents[2].start()
        self.wait_found(agents[0], "clock", ["host2"], ["host0", "host1"], "clock was set back")


@needs_root
class Sites(Ways):
    @takes(180)
    def test_event_and_finding_with_two_of_three_sites_cut_apart(self):
        """Sites A, B and C; no packet passes between A and C for the whole test."""
        hosts, agents = self.start_hosts(3, "-event-handler", "user:deploy=cat >> heard")
        hosts.cut(0, 2)
        self.assertFalse(hosts.reaches(0, 2) or hosts.reaches(2, 0))
        agents[0].cli("event", "-coalesce=false", "deploy", "around")
        wait_for(lambda: agents[2].read("heard") == "around\n", "C heard what A sent")
        self.wait_found(agents[0], "cut", ["host0"], ["host2"], "host0 <-> host2",
                        "through host1", "neither datagrams nor streams pass")
        rows = {row["from"]: row for row in self.find(agents[0])["matrix"]}
        self.assertEqual([(way["to"], way["reach"], way["via"]) for way in rows["host0"]["ways"]],
                         [("host2", "indirect", "host1")])
        self.assertEqual([(way["to"], way["reach"], way["via"]) for way in rows["host2"]["ways"]],
                         [("host0", "indirect", "host1")])
        self.assertEqual(rows["host1"]["ways"], [])
        for agent in agents:
            agent.sees(host0="alive", host1="alive", host2="alive")


if __name__ == "__main__":
    harness.main()
