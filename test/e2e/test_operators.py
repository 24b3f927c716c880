# SPDX-License-Identifier: Apache-2.0
"""Operators: signed orders, and agents that do only what their policies allow."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import harness
from harness import Case, sanitized, wait_for, write_file

PASSPHRASE = "correct horse battery staple"
POLICY = """rules:
  - {operators: alice, events: [deploy, tidy], queries: secret, orders: [keys, jobs], handlers: deploy}
  - {operators: alice, events: tidy, handlers: tidy}
  - {operators: bob, events: bobs}
  - {operators: [any, unsigned], queries: uptime}
"""
HANDLERS = """event_handlers:
  - name: deploy
    on: ["user:deploy", "query:secret"]
    run: [/bin/sh, -c, 'echo "deploy $STARLING_OPERATOR $(cat)" >> ran; echo answer']
  - name: tidy
    on: ["user:tidy", "user:deploy"]
    run: [/bin/sh, -c, 'echo "tidy $STARLING_OPERATOR" >> ran']
  - name: uptime
    on: ["query:uptime"]
    run: [/bin/sh, -c, 'echo "up ${STARLING_OPERATOR:-unsigned}"']
"""


class Capture:
    """Stands in for an agent's control socket: passes frames on, and keeps what the client says."""

    def __init__(self, case, path, agent):
        self.path = path
        self.agent = agent
        self.frames = []
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(path)
        self.server.listen()
        case.addCleanup(self.server.close)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                frame = read_frame(client)
                self.frames.append(frame)
                with ask(self.agent, frame) as agent:
                    while data := agent.recv(65536):
                        client.sendall(data)
                        # One reply is all that these commands get.
                        break


def read_frame(connection):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def ask(agent, frame):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10 * harness.SCALE)
    connection.connect(agent.control)
    connection.sendall(frame)
    return connection


class Operators(Case):
    def key(self, name, passphrase=None):
        """Makes an operator's key; its path."""
        path = os.path.join(self.folder, name + ".key")
        command = [harness.BINARY, "operator", "keygen", "-name", name, "-out", path]
        if passphrase is None:
            command += ["-no-passphrase"]
        else:
            command += ["-passphrase-file", "-"]
        done = subprocess.run(command, input=passphrase, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=True)
        with open(path + ".pub", encoding="ascii") as file:
            self.assertEqual(file.read(), done.stdout)
        return path

    def public(self, path):
        with open(path + ".pub", encoding="ascii") as file:
            return file.read().strip()

    def guarded(self, *names, policy=POLICY, keys=(), join=None):
        """Agents with the policy that trust these keys, all of one cluster."""
        agents = []
        for name in names:
            agent = self.agent(name, join=[(join or agents[0]).endpoint] if join or agents else [])
            write_file(agent.path("policy.yaml"), policy)
            config = (f"policy_file: {agent.path('policy.yaml')}\n"
                      f"audit_file: {agent.path('audit.log')}\n" + HANDLERS)
            if keys:
                config += "trusted_operators:\n" + "".join(f"  - {self.public(key)}\n"
                                                           for key in keys)
            agent.command += ["-config-file", write_file(agent.path("config.yaml"), config)]
            agents.append(agent.start())
        return agents

    def refusals(self, agent, name="orders_policy"):
        return int(agent.info()["drops"]["trust." + name])

    @sanitized
    def test_the_policy_decides_who_deploys(self):
        alice, bob = self.key("alice", PASSPHRASE), self.key("bob")
        agents = self.guarded("a", "b", "c", keys=[alice, bob])
        self.wait_formed(agents)
        a, b, c = agents
        phrase = write_file(os.path.join(self.folder, "phrase"), PASSPHRASE + "\n", 0o600)

        unsigned = a.cli("event", "deploy", "v0", check=False)
        self.assertEqual(unsigned.returncode, 1)
        self.assertIn("refused by policy: no rule allows event 'deploy' unsigned", unsigned.stderr)
        wrong = a.cli("event", "-sign", bob, "deploy", "v0", check=False)
        self.assertIn("no rule allows event 'deploy' to bob", wrong.stderr)

        a.cli("event", "-sign", alice, "-passphrase-file", phrase, "deploy", "v1")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("ran") == "deploy alice v1\n",
                     f"{agent.name} has deployed")
            audit = agent.read("audit.log")
            self.assertRegex(audit, r'accepted event "deploy" \(2 bytes\) by alice '
                                    r'\([0-9a-f]{16}\) through a \[user-')
            # The rule names one handler; the other one also listens to deploy.
            self.assertIn('refused to run handler tidy for event "deploy" by alice', audit)
            self.assertEqual(os.stat(agent.path("audit.log")).st_mode & 0o777, 0o600)
            self.assertIn("[INFO] audit: accepted event", agent.log())
        with open(alice, encoding="ascii") as file:
            sealed = file.read().split()[-1]
        for secret in (PASSPHRASE, sealed):
            for agent in agents:
                self.assertNotIn(secret, agent.log() + agent.read("audit.log"))
                self.assertNotIn(secret, json.dumps(agent.info()))

    def test_each_agent_enforces_for_itself(self):
        """An agent without a policy lets everything out; those with one let nothing in."""
        alice = self.key("alice")
        lax, = self.cluster("lax")
        agents = self.guarded("b", "c", keys=[alice], join=lax)
        self.wait_formed([lax, *agents])

        lax.cli("event", "-confirm", "deploy", "v0")
        for agent in agents:
            wait_for(lambda agent=agent: self.refusals(agent) == 1, f"{agent.name} has refused it")
            self.assertIn('refused event "deploy" (2 bytes) unsigned by lax', agent.read("audit.log"))
            self.assertIn("[WARN] audit: refused event", agent.log())
        waited = lax.cli("event", "-wait", "deploy", "v0", check=False)
        self.assertEqual(waited.returncode, 1)
        self.assertIn("refused by policy", waited.stdout)

        answer = lax.json("query", "secret")
        self.assertEqual({each["Node"]: each["Reason"] for each in answer["Failures"]},
                         {"b": "refused", "c": "refused"})
        text = lax.cli("query", "secret").stdout
        self.assertIn("Failure from 'b': refused by policy: no rule allows query 'secret' unsigned",
                      text)
        self.assertIn("Response from 'b': up unsigned", lax.cli("query", "uptime").stdout)
        signed = lax.cli("query", "-sign", alice, "secret").stdout
        self.assertIn("Response from 'b': answer", signed)
        self.assertIn("Response from 'c': answer", signed)
        lax.cli("event", "-sign", alice, "deploy", "v1")
        for agent in agents:
            wait_for(lambda agent=agent: "deploy alice v1" in agent.read("ran"), "it runs")
            self.assertNotIn("v0", agent.read("ran"))

    def test_a_captured_order_changes_nothing(self):
        """Whoever has the cluster's key and an order sends it again, from another member."""
        alice = self.key("alice")
        lax, = self.cluster("lax")
        agents = self.guarded("b", "c", keys=[alice], join=lax)
        self.wait_formed([lax, *agents])
        b, c = agents
        capture = Capture(self, os.path.join(self.folder, "tap.sock"), b)
        harness.run(harness.BINARY, "event", "-control", capture.path, "-sign", alice,
                    "-coalesce=false", "deploy", "v1", env=b.environment)
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("ran") == "deploy alice v1\n", "it has run")
        order = capture.frames[0]
        # Through an agent that knows the order, and through one that does not care.
        with ask(c, order) as connection:
            self.assertIn(b"it has been here before", read_frame(connection))
        for agent in agents:  # kill -9: what was used up stays so
            agent.kill()
            agent.start()
        self.wait_formed([lax, *agents])
        with ask(lax, order) as connection:
            read_frame(connection)
        for agent in agents:
            wait_for(lambda agent=agent: self.refusals(agent, "orders_used") == 1, "it is refused")
            self.assertIn("through lax", agent.read("audit.log"))
            self.assertEqual(agent.read("ran"), "deploy alice v1\n")
        # Another payload under the same signature.
        with ask(lax, order.replace(b"v1", b"v2", 1)) as connection:
            self.assertIn(b"does not hold", read_frame(connection))

    def test_trust_and_revoke_at_run_time(self):
        alice = self.key("alice")
        a, = self.guarded("a")
        self.assertIn("this agent trusts no operator 'alice'", a.log())
        self.assertEqual(a.cli("event", "-sign", alice, "deploy", "v0", check=False).returncode, 1)
        listed = a.cli("operator", "trust", alice + ".pub").stdout
        self.assertRegex(listed, r"^alice  [0-9a-f]{16}  trusted  trust ")
        a.cli("event", "-sign", alice, "deploy", "v1")
        wait_for(lambda: a.read("ran") == "deploy alice v1\n", "trusted")
        self.assertTrue(a.stop())
        a.start()
        a.cli("event", "-sign", alice, "-coalesce=false", "deploy", "v2")
        wait_for(lambda: "v2" in a.read("ran"), "still trusted")
        a.cli("operator", "revoke", "alice")
        refused = a.cli("event", "-sign", alice, "deploy", "v3", check=False)
        self.assertIn("which this agent does not trust", refused.stderr)
        self.assertTrue(a.stop())
        a.start()
        self.assertEqual(a.cli("event", "-sign", alice, "deploy", "v3", check=False).returncode, 1)
        state = a.json("operator", "list")["operators"]
        self.assertEqual([(each["name"], each["state"]) for each in state], [("alice", "revoked")])
        self.assertIn("revoked operator alice", a.read("audit.log"))

    def test_a_reload_takes_the_new_policy_and_keeps_the_old_one_for_a_bad_file(self):
        a, = self.guarded("a")
        a.cli("query", "uptime")
        write_file(a.path("policy.yaml"), "rules:\n  - operators: unsigned\n    event: deploy\n")
        os.rename(a.path("audit.log"), a.path("audit.log.1"))
        a.signal(signal.SIGHUP)
        wait_for(lambda: "policy.yaml:3:5: unknown key 'event'" in a.log(), "it says what is wrong")
        self.assertEqual(a.cli("event", "deploy", check=False).returncode, 1)
        a.cli("query", "uptime")
        write_file(a.path("policy.yaml"), "rules:\n  - operators: unsigned\n    events: deploy\n")
        a.signal(signal.SIGHUP)
        wait_for(lambda: a.cli("event", "deploy", "v1", check=False).returncode == 0, "the new one")
        wait_for(lambda: "deploy  v1" in a.read("ran"), "it runs")
        self.assertEqual(a.cli("query", "uptime", check=False).returncode, 1)
        self.assertIn("accepted event", a.read("audit.log"))

    def test_keys_and_jobs_are_orders(self):
        alice, bob = self.key("alice"), self.key("bob")
        lax, = self.cluster("lax", arguments=["-encrypt",
                                              harness.run(harness.BINARY, "keygen").stdout.strip()])
        b = self.agent("b", "-encrypt", lax.command[lax.command.index("-encrypt") + 1],
                       join=[lax.endpoint])
        write_file(b.path("policy.yaml"), POLICY)
        b.command += ["-config-file", write_file(b.path("config.yaml"), (
            f"policy_file: {b.path('policy.yaml')}\ntrusted_operators: ['{self.public(alice)}', "
            f"'{self.public(bob)}']\n") + HANDLERS)]
        b.start()
        self.wait_formed([lax, b])
        key = harness.run(harness.BINARY, "keygen").stdout.strip()
        refused = lax.cli("keys", "-install", key, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("no rule allows keys 'install' unsigned", refused.stderr)
        self.assertEqual(lax.cli("keys", "-install", key, "-sign", bob, check=False).returncode, 1)
        lax.cli("keys", "-install", key, "-sign", alice)
        self.assertIn("[2/2]", [line for line in lax.cli("keys", "-list").stdout.splitlines()
                                if key in line][0])
        self.assertNotIn(key, b.log())

        lax.cli("event", "-sign", alice, "deploy", "v1")
        wait_for(lambda: b.read("ran"), "the job has run")
        self.assertIn("deploy", lax.cli("job", "list", "-node", "b").stdout)  # reading is no order
        number = str(b.json("job", "list")["jobs"][0]["job"])
        refused = lax.cli("job", "retry", "-node", "b", number, check=False)
        self.assertIn("no rule allows jobs 'retry' unsigned", refused.stderr)
        lax.cli("job", "retry", "-node", "b", "-sign", alice, number)
        wait_for(lambda: b.read("ran") == "deploy alice v1\n" * 2, "it has run again")

    def test_keys_and_passphrases_are_looked_after(self):
        alice = self.key("alice", PASSPHRASE)
        self.assertEqual(os.stat(alice).st_mode & 0o777, 0o600)
        a, = self.cluster("a")
        wrong = write_file(os.path.join(self.folder, "wrong"), "no\n", 0o600)
        refused = a.cli("event", "-sign", alice, "-passphrase-file", wrong, "x", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertEqual(refused.stderr, f"starling: {alice}: this is not the passphrase of this key\n")
        nobody = a.cli("event", "-sign", alice, "x", check=False, start_new_session=True)
        self.assertIn("no terminal to ask for it: give -passphrase-file", nobody.stderr)
        os.chmod(alice, 0o644)
        self.assertIn("chmod 600", a.cli("event", "-sign", alice, "x", check=False).stderr)
        os.chmod(alice, 0o600)
        again = harness.run(harness.BINARY, "operator", "keygen", "-out", alice, "-name", "x",
                            "-no-passphrase", check=False)
        self.assertIn("there is a file of this name", again.stderr)
        # The path may come from the environment; the passphrase has no way in from there.
        phrase = write_file(os.path.join(self.folder, "phrase"), PASSPHRASE, 0o600)
        a.cli("operator", "trust", self.public(alice))
        a.environment["STARLING_OPERATOR_KEY"] = alice
        a.cli("event", "-passphrase-file", phrase, "x")
        wait_for(lambda: re.search(r'accepted event "x" .* by alice', a.log()), "it was signed")


if __name__ == "__main__":
    harness.main()
