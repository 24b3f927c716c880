# SPDX-License-Identifier: Apache-2.0
"""Real agents on loopback addresses or in network namespaces, for the end-to-end tests.

A test derives from Case and starts agents with self.agent() or self.cluster(). Each Case has a
folder and a /24 of 127.0.0.0/8 of its own, so tests run side by side. Tests wait on conditions with
wait_for(); nothing sleeps and hopes. At the end every agent is stopped, a process that is still
there fails the test, and a failed test prints the end of each agent's log.

STARLING_BINARY names the program. STARLING_TIME_SCALE stretches every deadline (sanitizers are slow).
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BINARY = os.path.abspath(os.environ.get("STARLING_BINARY",
                                        os.path.join(ROOT, "build", "release", "starling")))
SCALE = float(os.environ.get("STARLING_TIME_SCALE", "1"))
PORT = 7946
SKIPPED = 77  # the exit status by which ctest knows a skipped test
LOG_TAIL = 60
MARK = "E2E_TEST_MARK"  # not STARLING_*: handlers do not inherit those


def sanitized(test):
    """Quick, and through most of the program: CI runs it under ThreadSanitizer as well."""
    test.sanitized = True
    return test


def timed(test):
    """About times, or about many agents: CI leaves it out under AddressSanitizer, which sees the same
    code in smaller tests."""
    test.timed = True
    return test


def soak(test):
    """Takes very long: only with test/run.sh --soak."""
    test.soak = True
    return test


def takes(seconds, processors=1):
    """More than the default minute; or more than one processor, so that ctest runs less beside it."""
    def mark(test):
        test.seconds = seconds
        test.processors = processors
        return test
    return mark


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, "needs root")(test)


def wait_for(condition, what, seconds=20):
    """The first true value of `condition`. A failed assertion or command in it means: not yet."""
    deadline = time.monotonic() + seconds * SCALE
    while True:
        problem = None
        try:
            value = condition()
            if value:
                return value
        except (AssertionError, CommandFailed, OSError, ValueError, KeyError) as error:
            value, problem = None, error
        if time.monotonic() > deadline:
            detail = f"last seen: {problem or value!r}"
            raise AssertionError(f"not within {seconds * SCALE:.0f} s: {what}; {detail}")
        time.sleep(0.05)


class CommandFailed(Exception):
    pass


def run(*command, check=True, **options):
    """A short command; its output as text."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, timeout=60 * SCALE, **options)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} gave {done.returncode}: "
                            f"{done.stdout}{done.stderr}")
    return done


def server_of(agent):
    """Id of the process that forks the supervisors of an agent's jobs; None: there is none."""
    pid = agent.process.pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(word) for word in file.read().split()]
    return next((child for child in children if "supervise" in command_line(child)), None)


def processes_with(mark):
    """Ids of processes whose environment holds `mark`, but for zombies."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ctest may kill the test


class Agent:
    """One agent, which may be started, killed and started again over the same data folder."""

    def __init__(self, case, name, address, arguments=(), join=(), profile="local", namespace=None,
                 environment=None, rpc="none"):
        self.case = case
        self.name = name
        self.address = address
        self.endpoint = f"{address}:{PORT}"
        self.folder = os.path.join(case.folder, name)
        os.makedirs(self.folder)
        self.control = os.path.join(self.folder, "control.sock")
        self.log_path = os.path.join(self.folder, "log")
        self.environment = dict(os.environ, **{case.mark_name: case.mark_value},
                                **(environment or {}))
        self.environment.pop("STARLING_CONTROL", None)
        self.command = [BINARY, "agent", "-node", name, "-bind", self.endpoint,
                        "-data-dir", os.path.join(self.folder, "data"), "-control", self.control,
                        "-profile", profile, "-log-level", "DEBUG"]
        if rpc:
            self.command += ["-rpc-addr", rpc]
        for other in join:
            self.command += ["-retry-join", other]
        if join:
            self.command += ["-retry-interval", "1s"]
        self.command += list(arguments)
        if namespace:
            self.command = ["ip", "netns", "exec", namespace] + self.command
        self.process = None

    def launch(self):
        """Starts it without waiting."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.folder, env=self.environment,
                                            preexec_fn=_die_with_parent)
        return self

    def start(self):
        """Starts it and waits until it answers."""
        self.launch()
        return self.ready()

    def ready(self):
        def answers():
            if self.process.poll() is not None:
                return True
            return self.cli("members", check=False).returncode == 0
        wait_for(answers, f"{self.name} answers on its control socket", 30)
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode} at start:\n"
                                 f"{self.log()[-2000:]}")
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def wait(self, seconds=20):
        """The exit status."""
        return self.process.wait(seconds * SCALE)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()
        return self

    def stop(self):
        """SIGTERM, and SIGKILL for one that does not obey; True when it obeyed."""
        if not self.running():
            return True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait(10)
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def cli(self, command, *arguments, check=True, **options):
        return run(BINARY, command, "-control", self.control, *arguments, check=check,
                   env=self.environment, **options)

    def spawn_cli(self, command, *arguments):
        """A command that goes on meanwhile; its output is read with communicate()."""
        process = subprocess.Popen([BINARY, command, "-control", self.control, *arguments],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=self.environment,
                                   preexec_fn=_die_with_parent)

        def end():
            process.kill()
            process.communicate()

        self.case.addCleanup(end)
        return process

    def info(self):
        """{section: {key: text}}"""
        return self.json("info")

    def json(self, command, *arguments):
        return json.loads(self.cli(command, "-format", "json", *arguments).stdout)

    def members(self):
        """{name: status} as this agent sees it."""
        return {member["name"]: member["status"] for member in self.json("members")["members"]}

    def member(self, name):
        for member in self.json("members")["members"]:
            if member["name"] == name:
                return member
        return None

    def sees(self, **expected):
        """sees(beta="failed"): whether those members have those statuses."""
        seen = self.members()
        wrong = {name: seen.get(name) for name in expected if seen.get(name) != expected[name]}
        assert not wrong, f"{self.name} sees {wrong}, not {expected}"
        return True

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise AssertionError(f"{self.name} has no memory")

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        """A file that a handler writes in the agent's folder; empty until it is there."""
        try:
            with open(self.path(name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""


def write_file(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


class Case(unittest.TestCase):
    """A folder, addresses and agents; see the top of the file."""

    maxDiff = None

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        with tempfile.TemporaryDirectory(prefix="starling-e2e-",
                                         ignore_cleanup_errors=True) as self.folder:
            self.agents = []
            super().run(result)
            if len(result.failures) + len(result.errors) > before:
                self._print_logs()
        return result

    def setUp(self):
        self.mark_name = MARK
        self.mark_value = uuid.uuid4().hex
        self.network = self._reserve_network()
        self.addCleanup(self._stop_all)

    def _reserve_network(self):
        """A /24 of 127.0.0.0/8: whoever holds its .254 has it."""
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(holder.close)
        number = os.getpid() * 7
        while True:
            network = f"127.{1 + number // 251 % 250}.{1 + number % 251}"
            try:
                holder.bind((f"{network}.254", PORT))
                return network
            except OSError:
                number += 1

    def agent(self, name, *arguments, **options):
        """A new agent with an address of its own, not started."""
        address = options.pop("address", None) or f"{self.network}.{len(self.agents) + 1}"
        agent = Agent(self, name, address, arguments, **options)
        self.agents.append(agent)
        return agent

    def cluster(self, *names, arguments=(), formed=30, **options):
        """Started agents that all see each other alive."""
        agents = []
        for name in names:
            join = [agents[0].endpoint] if agents else []
            agents.append(self.agent(name, *arguments, join=join, **options))
            agents[-1].launch()
            if len(agents) == 1:
                agents[0].ready()
        for agent in agents:
            agent.ready()
        self.wait_formed(agents, formed)
        return agents

    def wait_formed(self, agents, seconds=30):
        everyone = {agent.name: "alive" for agent in agents}
        for agent in agents:
            wait_for(lambda agent=agent: agent.sees(**everyone), f"{agent.name} sees everyone alive",
                     seconds)

    def wait_seen(self, agents, seconds=20, **expected):
        for agent in agents:
            wait_for(lambda agent=agent: agent.sees(**expected), f"{agent.name} sees {expected}",
                     seconds)

    def script(self, name, text):
        """An executable file; returns its path."""
        return write_file(os.path.join(self.folder, name), text, 0o755)

    def _stop_all(self):
        stubborn = [agent.name for agent in self.agents if not agent.stop()]
        mark = f"{self.mark_name}={self.mark_value}"
        left = []

        def nobody():
            left[:] = processes_with(mark)
            return not left
        try:
            wait_for(nobody, "no process left", 5)
        except AssertionError:
            pass
        names = [f"{pid}: {command_line(pid)}" for pid in left]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.assertEqual(stubborn, [], "these did not end at SIGTERM")
        self.assertEqual(names, [], "processes left behind")

    def _print_logs(self):
        for agent in self.agents:
            try:
                lines = agent.log().splitlines()
            except OSError:
                continue
            print(f"--- log of {agent.name} ({len(lines)} lines, the last {LOG_TAIL}) ---")
            print("\n".join(lines[-LOG_TAIL:]), flush=True)


def each_test(folder):
    """(module, "Class.method", function) of every test in the folder."""
    sys.path.insert(0, folder)
    for name in sorted(os.listdir(folder)):
        if not (name.startswith("test_") and name.endswith(".py")):
            continue
        module = importlib.import_module(name[:-3])
        for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
            for test in suite:
                method = getattr(test, test._testMethodName)
                yield name[:-3], f"{type(test).__name__}.{test._testMethodName}", test, method


def list_for_ctest(folder):
    """One line a test: module;Class.method;labels (with +);seconds;processors."""
    for module, name, test, method in each_test(folder):
        def of(attribute, default, test=test, method=method):
            return getattr(method, attribute, getattr(test, attribute, default))
        labels = ["e2e"] + [label for label in ("sanitized", "soak", "timed") if of(label, False)]
        print(f"{module};{name};{'+'.join(labels)};{of('seconds', 60)};{of('processors', 1)}")


def _terminated(number, frame):
    """Told to stop: fail, and clean up as after any failure. Whoever read our output may be gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.exit("terminated")


def main():
    """For the end of each test file: like unittest.main(), but 77 when everything was skipped."""
    signal.signal(signal.SIGTERM, _terminated)
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun and len(result.skipped) == result.testsRun else 0)


if __name__ == "__main__":
    list_for_ctest(os.path.dirname(os.path.abspath(__file__)))
