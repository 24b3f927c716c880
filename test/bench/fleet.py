# SPDX-License-Identifier: Apache-2.0
"""Agents of one kind, started on loopback addresses of the network namespace that the bench runs in.

Each has an address of its own (127.1.H.L), gossips on port 7946 and answers Serf's RPC on 7373.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from rpc import PORT as RPC_PORT
from rpc import Connection, RpcError

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
GOSSIP_PORT = 7946
TICKS = os.sysconf("SC_CLK_TCK")


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# run.sh's process namespace takes its agents with it. To have the new process do anything before
# its exec costs a copy of this one: 3 ms of processor for each agent instead of one.
BEFORE_EXEC = None if os.environ.get("BENCH_INSIDE") else _die_with_parent


class Agent:
    def __init__(self, fleet, number):
        self.fleet = fleet
        self.number = number
        self.name = f"node{number:04}"
        self.address = f"127.1.{number // 250}.{1 + number % 250}"
        self.folder = os.path.join(fleet.folder, self.name)
        os.makedirs(self.folder)
        self.process = None

    def launch(self, join=(), arguments=()):
        command = self.fleet.kind.command(self, join) + list(arguments)
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.folder,
                                            preexec_fn=BEFORE_EXEC)
        return self

    def connect(self, seconds=30.0):
        """An RPC connection, as soon as the agent answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return Connection(self.address)
            except (OSError, RpcError):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}: "
                                       f"{self.log_end()}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)

    def log_end(self):
        with open(os.path.join(self.folder, "log"), "rb") as file:
            return file.read()[-1500:].decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def processor_seconds(self):
        """Of the agent itself, not of handlers that have ended."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_kib(self):
        """(PSS, private)"""
        values = {}
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if len(fields) == 3:
                    values[fields[0]] = int(fields[1])
        return values["Pss:"], values["Private_Clean:"] + values["Private_Dirty:"]


class Serf:
    """Debian's package, with its defaults, but for the log level."""
    name = "serf"
    label = "Serf 0.9.4"

    @staticmethod
    def command(agent, join):
        command = ["serf", "agent", "-node", agent.name, "-bind", f"{agent.address}:{GOSSIP_PORT}",
                   "-rpc-addr", f"{agent.address}:{RPC_PORT}", "-log-level", "err"]
        for other in join:
            command += ["-retry-join", f"{other.address}:{GOSSIP_PORT}", "-retry-interval", "1s"]
        return command

    @staticmethod
    def handler(_folder, event, command, **_limits):
        """Serf runs one handler at a time, whatever one asks for."""
        return ["-event-handler", f"{event}={command}"]

    @staticmethod
    def query(agent, name):
        return ["serf", "query", "-rpc-addr", f"{agent.address}:{RPC_PORT}", name]


class Starling:
    """The release build, with its defaults, but for the log level."""
    name = "starling"
    label = "Starling"
    binary = os.environ.get("STARLING_BINARY", os.path.join(ROOT, "build", "release", "starling"))

    @classmethod
    def command(cls, agent, join):
        command = [cls.binary, "agent", "-node", agent.name, "-bind",
                   f"{agent.address}:{GOSSIP_PORT}", "-rpc-addr", f"{agent.address}:{RPC_PORT}",
                   "-data-dir", os.path.join(agent.folder, "data"),
                   "-control", os.path.join(agent.folder, "control.sock"), "-log-level", "err"]
        for other in join:
            command += ["-retry-join", f"{other.address}:{GOSSIP_PORT}", "-retry-interval", "1s"]
        return command

    @staticmethod
    def handler(folder, event, command, concurrency=1, queue=1024):
        path = os.path.join(folder, "handlers.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump({"event_handlers": [{"filter": event, "command": command,
                                           "concurrency": concurrency, "queue": queue}]}, file)
        return ["-config-file", path]

    @classmethod
    def query(cls, agent, name):
        return [cls.binary, "query", "-control", os.path.join(agent.folder, "control.sock"), name]


KINDS = {kind.name: kind for kind in (Serf, Starling)}


class Fleet:
    """Agents that are stopped, and their folders removed, at the end of a `with`."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = tempfile.mkdtemp(prefix=f"bench-{kind.name}-")
        self.agents = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for agent in self.agents:
            if agent.process and agent.process.poll() is None:
                agent.process.kill()
        for agent in self.agents:
            if agent.process:
                agent.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, join=(), arguments=()):
        agent = Agent(self, len(self.agents)).launch(join, arguments)
        self.agents.append(agent)
        return agent

    def handler(self, event, command, **limits):
        """Arguments that make an agent run `command` for `event`."""
        return self.kind.handler(self.folder, event, command, **limits)

    def start(self, count, arguments=()):
        """`count` agents that all join through the first."""
        first = self.add(arguments=arguments)
        first.connect().close()
        for _ in range(1, count):
            self.add([first], arguments)
        return self

    def connect(self):
        return [agent.connect() for agent in self.agents]

    def agreed(self, seconds=180.0):
        """Seconds until every agent shows all alive; None when time is up. Asks each until it does,
        one after the other."""
        began = time.monotonic()
        for agent in self.agents:
            connection = agent.connect()
            while True:
                statuses = list(connection.members().values())
                if len(statuses) == len(self.agents) and set(statuses) == {"alive"}:
                    break
                if time.monotonic() - began > seconds:
                    return None
                time.sleep(0.01)
            connection.close()
        return time.monotonic() - began

    def addresses(self):
        return [agent.address for agent in self.agents]

    def processor_seconds(self):
        return sum(agent.processor_seconds() for agent in self.agents)

    def processor_seconds_of_running(self):
        return sum(agent.processor_seconds() for agent in self.agents
                   if agent.process.poll() is None)

    def memory_kib(self):
        """(PSS, private), the mean over the agents."""
        both = [agent.memory_kib() for agent in self.agents]
        return (sum(pss for pss, _ in both) / len(both),
                sum(private for _, private in both) / len(both))


def traffic():
    """(bytes, packets) that went over this namespace's loopback, headers included."""
    with open("/proc/net/dev", encoding="ascii") as file:
        for line in file:
            if line.strip().startswith("lo:"):
                fields = line.split(":")[1].split()
                return int(fields[8]), int(fields[9])
    raise RuntimeError("no loopback interface")
