# SPDX-License-Identifier: Apache-2.0
"""Serf's own command line against our agent, over Serf's RPC."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import unittest
from contextlib import closing

import harness
from harness import Case, run, wait_for

SERF = shutil.which("serf")
RPC_PORT = 7373


@unittest.skipUnless(SERF, "needs Debian's package serf")
class SerfClient(Case):
    def rpc_cluster(self, *names, arguments=()):
        agents = []
        for name in names:
            address = f"{self.network}.{len(self.agents) + 1}"
            agents.append(self.agent(name, *arguments, rpc=f"{address}:{RPC_PORT}",
                                     join=[agents[0].endpoint] if agents else []).start())
        self.wait_formed(agents)
        return agents

    def serf(self, agent, command, *arguments, check=True, **options):
        environment = dict(os.environ, SERF_RPC_ADDR=f"{agent.address}:{RPC_PORT}", **options)
        return run(SERF, command, *arguments, check=check, env=environment)

    def test_members(self):
        alpha, _ = self.rpc_cluster("alpha", "beta", arguments=["-tag", "role=web"])
        lines = sorted(self.serf(alpha, "members").stdout.splitlines())
        self.assertEqual([line.split() for line in lines], [
            [name, f"{self.network}.{number}:7946", "alive", "role=web"]
            for number, name in ((1, "alpha"), (2, "beta"))])
        self.assertEqual(self.serf(alpha, "members", "-name", "b.*").stdout.split()[0], "beta")
        self.assertEqual(self.serf(alpha, "members", "-tag", "role=database").stdout.strip(), "")
        self.assertEqual(self.serf(alpha, "members", "-status", "failed").stdout.strip(), "")
        refused = self.serf(alpha, "members", "-name", "(", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("regular expression", refused.stderr + refused.stdout)
        member = json.loads(self.serf(alpha, "members", "-format", "json").stdout)["members"][0]
        self.assertEqual(member["protocol"], {"min": 2, "max": 5, "version": 5})

    def test_events_and_queries(self):
        alpha, beta = self.rpc_cluster("alpha", "beta", arguments=[
            "-event-handler", "user:deploy=cat >> deployed",
            "-event-handler", "query:load=echo load of $SERF_SELF_NAME"])
        told = self.serf(alpha, "event", "deploy", "v1.2").stdout
        self.assertEqual(told, "Event 'deploy' dispatched! Coalescing enabled: true\n")
        wait_for(lambda: beta.read("deployed") == "v1.2\n", "beta runs the handler")
        answer = self.serf(alpha, "query", "load").stdout
        for name in ("alpha", "beta"):
            self.assertIn(f"Ack from '{name}'", answer)
            self.assertIn(f"Response from '{name}': load of {name}", answer)
        self.assertIn("Total Acks: 2\nTotal Responses: 2", answer)
        answer = json.loads(self.serf(alpha, "query", "-format", "json", "-no-ack", "-node", "beta",
                                      "load").stdout)
        self.assertEqual(answer["Responses"], {"beta": "load of beta\n"})
        refused = self.serf(alpha, "query", "_serf_conflict", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Queries cannot contain the '_serf_' prefix", refused.stderr + refused.stdout)
        self.assertIn("Successfully contacted all live nodes", self.serf(alpha, "reachability").stdout)

    def test_tags_info_and_force_leave(self):
        alpha, beta = self.rpc_cluster("alpha", "beta")
        self.serf(beta, "tags", "-set", "rack=3", "-set", "spare=1")
        self.serf(beta, "tags", "-delete", "spare")
        wait_for(lambda: alpha.member("beta")["tags"] == {"rack": "3"}, "alpha sees the tag")
        info = json.loads(self.serf(alpha, "info", "-format", "json").stdout)
        self.assertEqual(info["agent"]["name"], "alpha")
        self.assertEqual(info["serf"]["members"], "2")
        beta.kill()
        self.wait_seen([alpha], beta="failed")
        self.serf(alpha, "force-leave", "beta")
        self.wait_seen([alpha], beta="left")
        self.serf(alpha, "force-leave", "-prune", "beta")
        wait_for(lambda: list(alpha.members()) == ["alpha"], "beta is gone")

    def test_rtt(self):
        alpha, beta = self.rpc_cluster("alpha", "beta")
        line = re.compile(r"Estimated (.*) rtt: [0-9]+\.[0-9]{3} ms\n")

        def known(agent, *nodes):
            return self.serf(agent, "rtt", *nodes, check=False).returncode == 0

        wait_for(lambda: known(alpha, "beta"), "alpha knows where beta is")
        for nodes, names in ((("beta",), "beta <-> alpha"), (("alpha", "beta"), "alpha <-> beta")):
            for said in (self.serf(alpha, "rtt", *nodes).stdout, alpha.cli("rtt", *nodes).stdout):
                self.assertEqual(line.fullmatch(said).group(1), names)
        unknown = self.serf(alpha, "rtt", "nobody", check=False)
        self.assertEqual(unknown.returncode, 1)
        self.assertIn('Could not find a coordinate for node "nobody"', unknown.stdout + unknown.stderr)
        # What was known outlives the process.
        alpha.stop()
        with closing(sqlite3.connect(os.path.join(alpha.folder, "data", "state.db"))) as state:
            self.assertEqual(state.execute("SELECT count(*) FROM coordinates").fetchone()[0], 2)
        alpha.start()
        self.assertEqual(self.serf(alpha, "rtt", "alpha").returncode, 0)

    def test_no_coordinates(self):
        alpha, beta = self.rpc_cluster("alpha", "beta", arguments=["-config-file", harness.write_file(
            os.path.join(self.folder, "none.json"), '{"disable_coordinates": true}')])
        wait_for(lambda: int(beta.info()["protocol"]["probes"]) > 2, "beta has probed")
        refused = self.serf(alpha, "rtt", "beta", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('Could not find a coordinate for node "beta"', refused.stdout + refused.stderr)

    def test_join_and_leave(self):
        alpha, = self.rpc_cluster("alpha")
        beta, = self.rpc_cluster("beta")
        joined = self.serf(alpha, "join", beta.endpoint).stdout
        self.assertIn("Successfully joined cluster by contacting 1 nodes.", joined)
        self.wait_seen([alpha, beta], alpha="alive", beta="alive")
        failed = self.serf(alpha, "join", f"{self.network}.99", check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("Graceful leave complete", self.serf(beta, "leave").stdout)
        self.assertEqual(beta.wait(), 0)
        self.wait_seen([alpha], beta="left")

    def test_monitor_shows_logs_and_events(self):
        alpha, = self.rpc_cluster("alpha")
        monitor = subprocess.Popen([SERF, "monitor", f"-rpc-addr={alpha.address}:{RPC_PORT}",
                                    "-log-level=debug"], stdout=subprocess.PIPE, text=True,
                                   env=alpha.environment)
        try:
            for line in monitor.stdout:
                if "member-join: alpha" in line:
                    break
            self.serf(alpha, "event", "deploy", "v1")
            awaited = {"Event Info:", 'Name: "deploy"', "Payload: []byte{0x76, 0x31}"}
            for line in monitor.stdout:  # Serf prints the fields in any order
                awaited.discard(line.strip())
                if not awaited:
                    break
            self.assertEqual(awaited, set())
        finally:
            monitor.kill()
            monitor.wait()
            monitor.stdout.close()

    def test_token(self):
        alpha, = self.rpc_cluster("alpha", arguments=["-config-file", harness.write_file(
            os.path.join(self.folder, "auth.json"), '{"rpc_auth": "secret"}')])
        for token in ("", "wrong"):
            refused = self.serf(alpha, "members", check=False, SERF_RPC_AUTH=token)
            self.assertEqual(refused.returncode, 1)
            self.assertNotIn("alpha", refused.stdout)
        self.assertIn("alpha", self.serf(alpha, "members", SERF_RPC_AUTH="secret").stdout)

    def test_a_taken_port(self):
        alpha, = self.rpc_cluster("alpha")
        wanted = self.agent("beta", rpc=f"{alpha.address}:{RPC_PORT}").launch()
        self.assertEqual(wanted.wait(), 1)
        self.assertIn(f"cannot listen on {alpha.address}:{RPC_PORT} for Serf's RPC", wanted.log())

    def test_the_default_port_is_no_condition(self):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
            try:
                holder.bind(("127.0.0.1", RPC_PORT))
                holder.listen()
            except OSError:
                pass  # somebody else holds it: as good
            gamma = self.agent("gamma", rpc=None).start()
            self.assertIn("Serf's clients are not answered", gamma.log())


if __name__ == "__main__":
    harness.main()
