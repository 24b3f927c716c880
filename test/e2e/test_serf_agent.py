# SPDX-License-Identifier: Apache-2.0
"""Our command line against Serf's own agent, beside Serf's own command line."""

import json
import os
import shutil
import signal
import subprocess
import unittest

import harness
from harness import BINARY, Case, run, wait_for

SERF = shutil.which("serf")
RPC_PORT = 7373
# Version and traffic of the moment.
MOMENT = ("goroutines", "max_procs", "cpu_count")


@unittest.skipUnless(SERF, "needs Debian's package serf")
class SerfAgent(Case):
    def setUp(self):
        super().setUp()
        self.serfs = {}
        self.addCleanup(self.stop_serfs)

    def stop_serfs(self):
        for process in self.serfs.values():
            process.kill()
            process.wait()

    def serf_agent(self, name, *arguments, join=None):
        """Its RPC address, when it answers."""
        address = f"{self.network}.{100 + len(self.serfs)}"
        command = [SERF, "agent", "-node", name, "-bind", f"{address}:7946",
                   "-rpc-addr", f"{address}:{RPC_PORT}", "-profile", "local", *arguments]
        if join:
            command += ["-retry-join", join, "-retry-interval", "1s"]
        environment = dict(os.environ, **{self.mark_name: self.mark_value})
        with open(os.path.join(self.folder, f"{name}.log"), "wb") as log:
            self.serfs[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, cwd=self.folder, env=environment)
        rpc = f"{address}:{RPC_PORT}"
        wait_for(lambda: self.theirs(rpc, "members"), f"{name} answers", 30)
        return rpc

    def theirs(self, rpc, command, *arguments, check=True):
        return run(SERF, command, f"-rpc-addr={rpc}", *arguments, check=check)

    def ours(self, rpc, command, *arguments, check=True):
        return run(BINARY, command, f"-rpc-addr={rpc}", *arguments, check=check)

    def pair(self, *arguments):
        alpha = self.serf_agent("alpha", *arguments)
        beta = self.serf_agent("beta", *arguments, join=alpha.split(":")[0])
        for rpc in (alpha, beta):
            wait_for(lambda rpc=rpc: self.ours(rpc, "members").stdout.count("alive") == 2,
                     "both see each other")
        return alpha, beta

    def test_members(self):
        alpha, _ = self.pair("-tag", "role=web")
        for arguments in ((), ("-detailed",), ("-name", "b.*"), ("-tag", "role=w.b"),
                          ("-status", "alive")):
            ours = self.ours(alpha, "members", *arguments).stdout
            theirs = self.theirs(alpha, "members", *arguments).stdout
            self.assertEqual(sorted(line.split() for line in ours.splitlines()),
                             sorted(line.split() for line in theirs.splitlines()))
        ours = json.loads(self.ours(alpha, "members", "-format", "json").stdout)["members"]
        theirs = json.loads(self.theirs(alpha, "members", "-format", "json").stdout)["members"]
        for mine, other in zip(ours, sorted(theirs, key=lambda member: member["name"])):
            self.assertEqual({key: mine[key] for key in other}, other)

    def test_events_and_queries(self):
        alpha, _ = self.pair("-event-handler", "query:load=echo fine",
                             "-event-handler", "user:deploy=cat >> deployed")
        self.assertEqual(self.ours(alpha, "event", "deploy", "v1").stdout,
                         self.theirs(alpha, "event", "deploy", "v2").stdout)
        ours = self.ours(alpha, "query", "load").stdout.splitlines()
        theirs = self.theirs(alpha, "query", "load").stdout.splitlines()
        self.assertEqual(sorted(ours), sorted(theirs))
        refused = self.ours(alpha, "query", "_serf_conflict", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Queries cannot contain the '_serf_' prefix", refused.stderr)

        def reach_alike():
            # Serf's agent may tell of one acknowledgement twice: "more acks than live nodes".
            ours = self.ours(alpha, "reachability", check=False)
            theirs = self.theirs(alpha, "reachability", check=False)
            return (ours.returncode, theirs.returncode) == (0, 0) and ours.stdout == theirs.stdout
        wait_for(reach_alike, "both find all, in the same words")

    def test_tags_info_and_rtt(self):
        alpha, _ = self.pair()
        self.assertEqual(self.ours(alpha, "tags", "-set", "a=b").stdout,
                         self.theirs(alpha, "tags", "-set", "c=d").stdout)
        self.assertEqual(self.ours(alpha, "tags").stdout, "a=b\nc=d\n")
        ours = json.loads(self.ours(alpha, "info", "-format", "json").stdout)
        theirs = json.loads(self.theirs(alpha, "info", "-format", "json").stdout)
        for info in (ours, theirs):
            for key in MOMENT:
                info["runtime"].pop(key, None)
        self.assertEqual({key: ours[key] for key in ("agent", "runtime", "tags")},
                         {key: theirs[key] for key in ("agent", "runtime", "tags")})
        self.assertEqual(ours["serf"].keys(), theirs["serf"].keys())
        for nodes in (("beta",), ("alpha", "beta")):
            def same(nodes=nodes):  # the estimate moves with each probe
                return (self.ours(alpha, "rtt", *nodes).stdout ==
                        self.theirs(alpha, "rtt", *nodes).stdout)
            wait_for(same, "both say the same")
        for arguments in (("nobody",), ()):
            ours = self.ours(alpha, "rtt", *arguments, check=False)
            theirs = self.theirs(alpha, "rtt", *arguments, check=False)
            self.assertEqual(ours.returncode, theirs.returncode)
            self.assertEqual((ours.stdout + ours.stderr).splitlines()[0],
                             (theirs.stdout + theirs.stderr).splitlines()[0])

    def test_keys(self):
        first, second = (run(SERF, "keygen").stdout.strip() for _ in range(2))
        for name in ("alpha", "beta"):
            harness.write_file(os.path.join(self.folder, f"{name}.json"), json.dumps([first]))
        alpha = self.serf_agent("alpha", "-keyring-file", "alpha.json")
        self.serf_agent("beta", "-keyring-file", "beta.json", join=alpha.split(":")[0])
        wait_for(lambda: self.ours(alpha, "members").stdout.count("alive") == 2, "they are joined")
        for arguments in (("-list",), ("-install", second), ("-list",), ("-use", second),
                          ("-remove", second), ("-remove", first), ("-install", "x"),
                          ("-list", "-use", first)):
            ours = self.ours(alpha, "keys", *arguments, check=False)
            theirs = self.theirs(alpha, "keys", *arguments, check=False)
            self.assertEqual(ours.returncode, theirs.returncode, arguments)
            self.assertEqual(sorted((ours.stdout + ours.stderr).split("\nUsage")[0].split("\n")),
                             sorted((theirs.stdout + theirs.stderr).split("\nUsage")[0].split("\n")))

    def test_join_force_leave_and_leave(self):
        alpha = self.serf_agent("alpha")
        beta = self.serf_agent("beta")
        joined = self.ours(alpha, "join", beta.split(":")[0]).stdout
        self.assertEqual(joined, "Successfully joined cluster by contacting 1 nodes.\n")
        failed = self.ours(alpha, "join", f"{self.network}.99", check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("Error joining the cluster", failed.stderr)
        self.serfs["beta"].send_signal(signal.SIGKILL)
        wait_for(lambda: "failed" in self.ours(alpha, "members").stdout, "beta is failed")
        self.ours(alpha, "force-leave", "beta")
        wait_for(lambda: "left" in self.ours(alpha, "members").stdout, "beta is left")
        self.assertEqual(self.ours(alpha, "leave").stdout, "Graceful leave complete\n")
        self.assertEqual(self.serfs["alpha"].wait(20), 0)

    def test_monitor(self):
        alpha = self.serf_agent("alpha")
        monitor = subprocess.Popen([BINARY, "monitor", f"-rpc-addr={alpha}", "-log-level=debug"],
                                   stdout=subprocess.PIPE, text=True)
        try:
            for line in monitor.stdout:
                if "EventMemberJoin" in line:
                    break
            self.theirs(alpha, "event", "deploy", "v1")
            seen = []
            for line in monitor.stdout:
                seen.append(line.strip())
                if line.strip() == 'Payload: "v1"':
                    break
            self.assertIn('Name: "deploy"', seen)
        finally:
            monitor.kill()
            monitor.wait()
            monitor.stdout.close()

    def test_token_and_environment(self):
        harness.write_file(os.path.join(self.folder, "auth.json"), '{"rpc_auth": "secret"}')
        address = f"{self.network}.100"
        self.serfs["alpha"] = subprocess.Popen(
            [SERF, "agent", "-node", "alpha", "-bind", address, "-rpc-addr", f"{address}:7373",
             "-config-file", "auth.json"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd=self.folder,
            env=dict(os.environ, **{self.mark_name: self.mark_value}))
        environment = dict(os.environ, SERF_RPC_ADDR=f"{address}:7373", SERF_RPC_AUTH="secret")
        environment.pop("STARLING_CONTROL", None)
        wait_for(lambda: "alpha" in run(BINARY, "members", env=environment).stdout, "it answers")
        for token, text in (("", "Authentication required"),
                            ("wrong", "Invalid authentication token")):
            refused = run(BINARY, "members", f"-rpc-auth={token}", env=environment, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(text, refused.stderr)

    def test_called_as_serf(self):
        alpha = self.serf_agent("alpha")
        link = os.path.join(self.folder, "serf")
        os.symlink(BINARY, link)
        environment = dict(os.environ, SERF_RPC_ADDR=alpha)
        environment.pop("STARLING_CONTROL", None)
        self.assertIn("alpha", run(link, "members", env=environment).stdout)
        environment["SERF_RPC_ADDR"] = f"{self.network}.99:7373"
        refused = run(link, "members", env=environment, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Error connecting to Serf agent", refused.stderr)


if __name__ == "__main__":
    harness.main()
