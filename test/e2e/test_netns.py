# SPDX-License-Identifier: Apache-2.0
"""Hosts in network namespaces joined by a bridge: routes that are cut, and partitions that heal."""

import json
import os
import time

import harness
from harness import BINARY, Case, needs_root, run, takes, timed, wait_for, write_file

NOWHERE = "02:00:00:00:00:01"  # frames to it are dropped by the bridge without a word


class Hosts:
    """A bridge in a namespace of its own, and a namespace with one address for each host."""

    def __init__(self, case, count):
        self.prefix = f"starling-{os.getpid()}"
        self.hub = f"{self.prefix}-hub"
        self.count = count
        case.addCleanup(self.remove)
        run("ip", "netns", "add", self.hub)
        for bridge in ("left", "right"):
            run("ip", "-n", self.hub, "link", "add", bridge, "type", "bridge")
            run("ip", "-n", self.hub, "link", "set", bridge, "up")
        for number in range(count):
            name = self.namespace(number)
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name",
                f"port{number}", "netns", self.hub)
            run("ip", "-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", self.hub, "link", "set", f"port{number}", "master", "left")
            run("ip", "-n", self.hub, "link", "set", f"port{number}", "up")

    def namespace(self, number):
        return f"{self.prefix}-{number}"

    @staticmethod
    def address(number):
        return f"10.77.0.{number + 1}"

    def cut(self, one, other):
        """Packets between the two vanish, in both directions; those to others arrive."""
        for source, target in ((one, other), (other, one)):
            run("ip", "-n", self.namespace(source), "neigh", "replace", self.address(target),
                "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def cut_one_way(self, source, target):
        """Packets from one to the other vanish; those back arrive."""
        run("ip", "-n", self.namespace(source), "neigh", "replace", self.address(target),
            "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def block(self, source, target, protocol):
        """The target drops "udp" or "tcp" that comes from the source."""
        def nft(*words):
            run("ip", "netns", "exec", self.namespace(target), "nft", *words)
        nft("add", "table", "inet", "test")
        nft("add", "chain", "inet", "test", "in", "{ type filter hook input priority 0; }")
        nft("add", "rule", "inet", "test", "in", "ip", "saddr", self.address(source), "meta",
            "l4proto", protocol, "drop")

    def mend(self, one, other):
        for source, target in ((one, other), (other, one)):
            run("ip", "-n", self.namespace(source), "neigh", "del", self.address(target), "dev",
                "eth0")

    def move(self, numbers, bridge):
        """Puts hosts on the bridge "left" or "right"; the two are not connected."""
        for number in numbers:
            run("ip", "-n", self.hub, "link", "set", f"port{number}", "master", bridge)

    def reaches(self, one, other):
        """Whether a stream from one host to another's agent can be opened."""
        code = ("import socket, sys; "
                "socket.create_connection((sys.argv[1], 7946), 1).close()")
        return run("ip", "netns", "exec", self.namespace(one), "python3", "-c", code,
                   self.address(other), check=False).returncode == 0

    def remove(self):
        for number in range(self.count):
            run("ip", "netns", "del", self.namespace(number), check=False)
        run("ip", "netns", "del", self.hub, check=False)


@needs_root
class Namespaces(Case):
    def start_hosts(self, count, *arguments):
        hosts = Hosts(self, count)
        # Cleanups run last first: agents stop before their namespaces go.
        self.addCleanup(self._stop_all)
        key = run(BINARY, "keygen").stdout.strip()
        agents = []
        for number in range(count):
            join = [f"{hosts.address(0)}:7946"] if number else []
            agents.append(self.agent(f"host{number}", "-encrypt", key, *arguments, join=join,
                                     address=hosts.address(number),
                                     namespace=hosts.namespace(number)).launch())
        for agent in agents:
            agent.ready()
        self.wait_formed(agents)
        return hosts, agents

    @takes(120)
    @timed
    def test_cut_route_is_bridged_by_indirect_probes(self):
        hosts, agents = self.start_hosts(4)
        self.assertTrue(hosts.reaches(0, 1))
        hosts.cut(0, 1)
        self.assertFalse(hosts.reaches(0, 1) or hosts.reaches(1, 0))
        # Longer than the local profile takes to declare a death, many times over.
        end = time.monotonic() + 15 * harness.SCALE
        while time.monotonic() < end:
            for agent in agents:
                agent.sees(host0="alive", host1="alive", host2="alive", host3="alive")
            time.sleep(0.2)
        for agent in agents:
            self.assertNotIn("member-failed", agent.log())

    @takes(120)
    def test_query_answer_goes_around_a_cut_route(self):
        hosts, agents = self.start_hosts(
            3, "-event-handler", "query:who=echo $SERF_SELF_NAME",
            "-event-handler", "user:deploy=cat >> heard")
        hosts.cut(0, 1)
        text = agents[0].cli("query", "-timeout", "20s", "who").stdout
        self.assertIn("Response from 'host1': host1", text)
        self.assertIn("Total Responses: 3", text)
        agents[0].cli("event", "-coalesce=false", "deploy", "around")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard") == "around\n",
                     f"{agent.name} heard the event")

    @takes(120)
    def test_a_job_is_managed_around_a_cut_route(self):
        hosts, agents = self.start_hosts(
            3, "-event-handler", "user:work=echo on $SERF_SELF_NAME; [ -e go ] || exec sleep 1000")
        for number in (0, 2):
            write_file(agents[number].path("go"), "")
        hosts.cut(0, 1)
        self.assertFalse(hosts.reaches(0, 1) or hosts.reaches(1, 0))
        agents[0].cli("event", "-coalesce=false", "work")

        def states():
            return [job["state"] for job in
                    agents[0].json("job", "list", "-node", "host1")["jobs"]]
        wait_for(lambda: states() == ["running"], "host1 runs the job")
        wait_for(lambda: agents[0].cli("job", "logs", "-node", "host1", "1").stdout == "on host1\n",
                 "its log is read")
        agents[0].cli("job", "kill", "-node", "host1", "1")
        wait_for(lambda: states() == ["killed"], "it is killed")
        self.assertFalse(hosts.reaches(0, 1))

    @takes(240)
    def test_partition_heals_by_itself(self):
        quick = write_file(os.path.join(self.folder, "quick.yaml"), "reconnect_interval: 2s\n")
        hosts, agents = self.start_hosts(5, "-config-file", quick, "-event-handler",
                                         "user:deploy=cat >> heard")
        left, right = agents[:3], agents[3:]
        hosts.move((3, 4), "right")
        self.wait_seen(left, 90, host0="alive", host1="alive", host2="alive", host3="failed",
                       host4="failed")
        wait_for(lambda: right[0].sees(host3="alive", host4="alive"), "the right side stays", 10)
        left[0].cli("event", "-coalesce=false", "deploy", "while-apart")
        for agent in left:
            wait_for(lambda agent=agent: agent.read("heard") == "while-apart\n",
                     f"{agent.name} heard the event")
        hosts.move((3, 4), "left")
        self.wait_formed(agents, 120)
        for agent in right:
            wait_for(lambda agent=agent: agent.read("heard") == "while-apart\n",
                     f"{agent.name} caught up with the event")

    @takes(180)
    def test_mended_route_is_used_again(self):
        hosts, agents = self.start_hosts(3)
        hosts.cut(1, 2)
        hosts.mend(1, 2)
        wait_for(lambda: hosts.reaches(1, 2), "the route is back")
        agents[0].kill()  # the only one that could have helped
        self.wait_seen(agents[1:], 60, host0="failed", host1="alive", host2="alive")

    @takes(180)
    def test_sites_with_a_route_cut_all_the_time(self):
        """Sites A, B and C, A and C cut: events arrive, 100 KiB of answer come, the cut is named."""
        large = 100 << 10
        hosts = Hosts(self, 3)
        self.addCleanup(self._stop_all)
        key = run(BINARY, "keygen").stdout.strip()
        hosts.cut(0, 2)
        agents = []
        for number, site in enumerate("ABC"):
            # Both ends join the middle: they could not reach each other.
            join = [f"{hosts.address(1)}:7946"] if number != 1 else []
            agents.append(self.agent(
                site, "-encrypt", key, "-tag", f"zone={site}", "-event-handler",
                f"query:dump=head -c {large} /dev/zero | tr '\\0' $SERF_SELF_NAME",
                "-event-handler",
                "user=echo $SERF_USER_EVENT $(tr -d '\\n' | wc -c) >> events", join=join,
                address=hosts.address(number), namespace=hosts.namespace(number)))
        for number in (1, 0, 2):
            agents[number].launch()
            agents[number].ready()
        self.wait_formed(agents)
        self.assertFalse(hosts.reaches(0, 2))
        for asker, answerer in ((0, "C"), (2, "A")):
            started = time.monotonic()
            done = agents[asker].cli("query", "-format", "json", "-timeout", "30s", "dump")
            answers = json.loads(done.stdout)
            self.assertEqual(answers["Responses"][answerer], answerer * large)
            self.assertEqual(sorted(answers["Acks"]), ["A", "B", "C"])
            self.assertEqual(answers["Silent"], {})
            self.assertFalse(answers["TimedOut"])
            self.assertLess(time.monotonic() - started, 15 * harness.SCALE)
        for sender, receiver, size in ((0, 2, 10), (2, 0, large)):
            name = f"deploy{sender}"
            sent = agents[sender].cli("event", "-confirm", "-timeout", "20s", "-format", "json", name,
                                      "-", input="x" * size)
            self.assertEqual(json.loads(sent.stdout)["missing"], [], sent.stdout)
            wait_for(lambda: f"{name} {size}\n" in agents[receiver].read("events"),
                     f"the handler of the other end has {size} bytes", 30)
        self.check_named(agents)
        self.assertFalse(hosts.reaches(0, 2))

    def check_named(self, agents):
        def named():
            text = agents[1].cli("reachability", check=False).stdout
            assert "A <-> C" in text, text
            return text
        wait_for(named, "the middle names the cut", 60)


if __name__ == "__main__":
    harness.main()
