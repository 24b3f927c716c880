# SPDX-License-Identifier: Apache-2.0
"""Keys and tokens are where they must be and nowhere else: not in arguments, logs, answers,
environments or core dumps, and in memory only where it is locked."""

import base64
import grp
import json
import os
import re
import signal
import socket
import stat
import subprocess
import unittest

import harness
from harness import BINARY, Case, needs_root, run, wait_for, write_file

TOKEN = "a-token-that-nobody-says-aloud"
NOBODY = 65534


def new_key():
    return run(BINARY, "keygen").stdout.strip()


def read_proc(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def found_in_memory(pid, secret):
    """Where `secret` is in the writable memory of a process: [(address, whether it is locked)]."""
    regions, found = [], []
    for line in read_proc(pid, "smaps").decode().splitlines():
        begin = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw.. ", line)
        if begin or re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            regions.append([int(begin[1], 16), int(begin[2], 16), False] if begin else None)
        elif line.startswith("VmFlags:") and regions[-1]:
            regions[-1][2] = "lo" in line.split()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, locked in filter(None, regions):
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
            except (OSError, ValueError, OverflowError):
                continue
            at = content.find(secret)
            while at >= 0:
                found.append((hex(begin + at), locked))
                at = content.find(secret, at + 1)
    return found


class Secrets(Case):
    def keyed(self, key, name="alpha", **options):
        """An agent with its key and token in files, and a handler that writes down what it is given."""
        ring = write_file(os.path.join(self.folder, f"{name}-ring.json"), json.dumps([key]), 0o600)
        config = write_file(os.path.join(self.folder, f"{name}.json"), json.dumps(
            {"keyring_file": ring, "rpc_auth": TOKEN,
             "event_handlers": ["*=env >> heard; tr '\\0' ' ' < /proc/self/cmdline >> heard",
                                "query:who=echo me"]}), 0o600)
        rpc = f"{self.network}.{len(self.agents) + 1}:7373"
        return self.agent(name, "-config-file", config, rpc=rpc, **options)

    def assert_silent(self, text, *secrets):
        if isinstance(text, str):
            text = text.encode()
        for secret in secrets:
            raw = secret.encode()
            self.assertNotIn(raw, text)
            self.assertNotIn(raw.rstrip(b"="), text)
            if len(raw) == 44:
                decoded = base64.b64decode(raw)
                self.assertNotIn(decoded, text)
                self.assertNotIn(decoded.hex().encode(), text.lower())

    def test_nothing_tells_a_secret(self):
        key, other, wrong = new_key(), new_key(), new_key()
        alpha = self.keyed(key).start()
        beta = self.keyed(key, "beta", join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        monitor = alpha.spawn_cli("monitor", "-log-level", "TRACE")
        said = [alpha.cli("event", "-coalesce=false", "deploy", "v1"), alpha.cli("query", "who"),
                beta.cli("keys", "-install", other), alpha.cli("keys", "-use", other),
                alpha.cli("keys", "-remove", key), alpha.cli("reload", check=False)]
        alpha.signal(signal.SIGHUP)
        stranger = self.agent("stranger", "-encrypt", wrong).start()
        stranger.cli("join", alpha.endpoint, check=False)
        for token in (TOKEN, "not " + TOKEN):
            said.append(run(BINARY, "members", f"-rpc-addr={self.network}.1:7373",
                            f"-rpc-auth={token}", check=False))
        wait_for(lambda: "v1" in alpha.read("heard") or "deploy" in alpha.read("heard"), "a handler ran")
        wait_for(lambda: "reloading" in alpha.log(), "the reload is logged")
        said += [alpha.cli("info"), alpha.cli("info", "-format", "json"), alpha.cli("members"),
                 run(BINARY, "config", "check", "-config-file", f"{self.folder}/alpha.json",
                     check=False)]
        monitor.terminate()
        told = "".join(each.stdout + each.stderr for each in said) + "".join(monitor.communicate())
        for text in (told, alpha.log(), beta.log(), stranger.log(), alpha.read("heard"),
                     read_proc(alpha.process.pid, "cmdline"),
                     read_proc(alpha.process.pid, "environ")):
            self.assert_silent(text, key, other, wrong, TOKEN)
        # The keyring says which key is which only to its owner.
        for name in ("alpha", "beta"):
            ring = f"{self.folder}/{name}-ring.json"
            self.assertEqual(stat.S_IMODE(os.stat(ring).st_mode), 0o600)

    def test_a_key_among_the_arguments_is_overwritten(self):
        key = new_key()
        for form in (["-encrypt", key], [f"-encrypt={key}"], [f"--encrypt={key}"]):
            alpha = self.agent(f"alpha{len(self.agents)}", *form).start()
            arguments = read_proc(alpha.process.pid, "cmdline")
            self.assert_silent(arguments, key)
            self.assertIn(b"x" * len(key), arguments)
            self.assertIn(b"-node", arguments)
            alpha.signal(signal.SIGHUP)  # it still knows its key
            wait_for(lambda alpha=alpha: "reloading" in alpha.log(), "the reload is logged")
            self.assertNotIn("takes effect when", alpha.log())

    @needs_root
    @unittest.skipIf(harness.SCALE > 1, "sanitizers keep what was freed")
    def test_keys_lie_in_locked_memory_only(self):
        key, other = new_key(), new_key()
        alpha = self.keyed(key).start()
        beta = self.keyed(key, "beta", join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta])
        with open(alpha.path("data/node.key"), encoding="ascii") as file:
            seed = file.read().split()[1]
        for agent in (alpha, beta):
            agent.signal(signal.SIGHUP)
            wait_for(lambda agent=agent: "reloading" in agent.log(), "the reload is logged")
            agent.cli("members")
        pid = alpha.process.pid
        places = found_in_memory(pid, base64.b64decode(key))
        self.assertTrue(places, "the key is not where it is looked for")
        self.assertEqual([place for place in places if not place[1]], [])
        self.assertEqual(found_in_memory(pid, key.encode()), [])
        self.assertEqual(found_in_memory(pid, seed.encode()), [])
        self.assertEqual([place for place in found_in_memory(pid, bytes.fromhex(seed))
                          if not place[1]], [])
        # A key that was removed is wiped.
        for arguments in (("-install", other), ("-use", other), ("-remove", key)):
            alpha.cli("keys", *arguments)
        wait_for(lambda: not [place for place in found_in_memory(pid, base64.b64decode(key))
                              if place[1]], "the key that was removed is wiped")

    @needs_root
    def test_the_agent_cannot_be_dumped_unless_asked(self):
        if run("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "test", "-x",
               BINARY, check=False).returncode != 0:
            self.skipTest(f"nobody may not run {BINARY}")
        for name, asked in (("alpha", False), ("beta", True)):
            agent = self.agent(name, *self.core_dumps(asked))
            os.chmod(self.folder, 0o755)
            os.chown(agent.folder, NOBODY, NOBODY)
            agent.command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                             "--clear-groups"] + agent.command
            agent.start()
            # What belongs to a process that cannot be dumped is root's.
            owner = os.stat(f"/proc/{agent.process.pid}/mem").st_uid
            self.assertEqual(owner, NOBODY if asked else 0)
            attach = subprocess.run(
                ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "cat",
                 f"/proc/{agent.process.pid}/environ"], capture_output=True, check=False)
            self.assertEqual(attach.returncode == 0, asked, attach.stderr)
            agent.cli("event", "-coalesce=false", "x")

    def core_dumps(self, asked):
        if not asked:
            return []
        path = write_file(os.path.join(self.folder, "dumps.json"), '{"allow_core_dumps": true}')
        return ["-config-file", path]


class ControlSocket(Case):
    def mode(self, path):
        status = os.stat(path)
        return stat.S_IMODE(status.st_mode), status.st_gid

    def with_group(self, name, group):
        rpc = os.path.join(self.folder, f"{name}.rpc")
        path = write_file(os.path.join(self.folder, f"{name}.json"), json.dumps(
            {"control_group": group, "rpc_addr": f"unix:{rpc}"}))
        return self.agent(name, "-config-file", path, rpc=None), rpc

    def test_it_is_of_the_agents_group(self):
        alpha = self.agent("alpha").start()
        self.assertEqual(self.mode(alpha.control), (0o660, os.getegid()))

    @needs_root
    def test_it_is_given_to_a_group(self):
        other = next(each for each in grp.getgrall() if each.gr_gid not in (0, os.getegid()))
        alpha, rpc = self.with_group("alpha", other.gr_name)
        alpha.start()
        self.assertEqual(self.mode(alpha.control), (0o660, other.gr_gid))
        self.assertEqual(self.mode(rpc), (0o660, other.gr_gid))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(rpc)

    def test_a_group_that_is_not_there_is_an_error(self):
        alpha, _ = self.with_group("alpha", "no-such-group")
        alpha.launch()
        self.assertEqual(alpha.wait(), 1)
        self.assertIn("control_group: this host has no group 'no-such-group'", alpha.log())


if __name__ == "__main__":
    harness.main()
