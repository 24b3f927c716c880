# SPDX-License-Identifier: Apache-2.0
"""Malformed packets, streams and frames of Serf's RPC, from a stranger and from somebody with the
cluster key."""

import os
import random
import socket
import struct
import subprocess

import harness
from harness import BINARY, Case, run, sanitized, takes, wait_for

# Bounded queues fill, and the allocator keeps what they gave back; a leak of a few bytes for each
# packet would be more than this.
GROWTH_KIB = 6 * 1024


def packed(value):
    """MessagePack, as far as requests need it."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        return b"\xda" + struct.pack(">H", len(value)) + value.encode()
    if isinstance(value, bytes):
        return b"\xc5" + struct.pack(">H", len(value)) + value
    if isinstance(value, list):
        return b"\xdc" + struct.pack(">H", len(value)) + b"".join(map(packed, value))
    return b"\xde" + struct.pack(">H", len(value)) + b"".join(
        packed(key) + packed(value[key]) for key in value)


class Storm(Case):
    def storm(self, agent, packets, streams, seed, key=None):
        program = os.path.join(os.environ.get("STARLING_BUILD", os.path.dirname(BINARY)), "test",
                               "fuzz", "packet_storm")
        command = [program, "--target", agent.endpoint, "--packets", str(packets), "--streams",
                   str(streams), "--seed", str(seed)]
        if key:
            command += ["--key", key]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=300 * harness.SCALE)
        print(done.stdout.strip(), flush=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(agent.running(), "the agent is gone")

    def unharmed(self, agents):
        """All alive in each other's eyes, nobody else there, and still at work."""
        everyone = {agent.name: "alive" for agent in agents}
        for agent in agents:
            wait_for(lambda agent=agent: agent.members() == everyone,
                     f"{agent.name} sees exactly {everyone}")
            self.assertEqual(agent.member(agent.name)["tags"], {"role": agent.name})
        agents[0].cli("event", "-coalesce=false", "still", "here")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard").endswith("here\n"),
                     f"{agent.name} hears an event")

    def start_three(self, *arguments):
        agents = self.cluster("alpha", "beta", "gamma", arguments=[
            *arguments, "-event-handler", "user:still=cat >> heard"])
        for agent in agents:
            agent.cli("tags", "-set", f"role={agent.name}")
        return agents

    def weather(self, packets, streams):
        key = run(BINARY, "keygen").stdout.strip()
        agents = self.start_three("-encrypt", key)
        beta = agents[1]
        self.storm(beta, packets // 4, streams // 4, seed=1)           # a stranger
        self.storm(beta, packets // 4, streams // 4, seed=2, key=key)  # one of the cluster
        before = beta.memory_kib()
        self.storm(beta, packets // 2, streams // 2, seed=3, key=key)
        self.unharmed(agents)
        growth = beta.memory_kib() - before
        print(f"resident {before} KiB before the second half, {growth} KiB more after it")
        if harness.SCALE == 1:
            self.assertLess(growth, GROWTH_KIB)

    @takes(240)
    def test_hundred_thousand_packets_and_a_thousand_streams(self):
        self.weather(100_000, 1_000)

    @takes(120)
    @sanitized
    def test_short_storm(self):
        self.weather(4_000, 80)

    @takes(1200)
    @harness.soak
    def test_ten_times_as_many(self):
        self.weather(1_000_000, 10_000)

    # --- Serf's RPC ---

    BODIES = {"event": {"Name": "deploy", "Payload": b"v1", "Coalesce": False},
              "join": {"Existing": ["127.0.0.1:1"], "Replay": False},
              "members-filtered": {"Tags": {"role": "w.*"}, "Status": "alive", "Name": "a"},
              "stream": {"Type": "user:deploy,query"}, "monitor": {"LogLevel": "DEBUG"},
              "stop": {"Stop": 3}, "respond": {"ID": 1, "Payload": b"x"},
              "query": {"FilterNodes": ["a"], "RequestAck": True, "Timeout": 10 ** 8, "Name": "load"},
              "auth": {"AuthKey": "wrong"}, "get-coordinate": {"Node": "a"}}

    def frame(self, chance):
        """A request, mostly damaged, or a bomb. None that would make a healthy agent leave."""
        if chance.random() < 0.02:
            return chance.choice([b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, b"\x81" * 5000,
                                  b"\xdb\x7f\xff\xff\xff" + b"x" * 1000, b"\xdf\xff\xff\xff\xff",
                                  os.urandom(chance.randrange(3000))])
        command = chance.choice(list(self.BODIES) + ["members", "stats", "list-keys"])
        frame = bytearray(packed({"Command": command, "Seq": chance.randrange(1 << 20)}))
        if command in self.BODIES:
            frame += packed(self.BODIES[command])
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(frame))
            if chance.random() < 0.5:
                frame[at] = chance.randrange(256)
            else:
                del frame[at:at + chance.randrange(4)]
                frame = frame or bytearray(b"\xc0")
        return bytes(frame)

    def rpc_storm(self, address, frames, token=None, seed=1):
        """Frames over connections of some tens each; one that the agent closes is made again."""
        chance = random.Random(seed)
        client = None
        hello = packed({"Command": "handshake", "Seq": 0}) + packed({"Version": 1})
        if token:
            hello += packed({"Command": "auth", "Seq": 1}) + packed({"AuthKey": token})
        for _ in range(frames):
            if client is None:
                client = socket.create_connection(address, 10)
                client.sendall(hello)
            over = chance.random() < 0.03
            try:
                client.settimeout(10)
                client.sendall(self.frame(chance))
                client.setblocking(False)
                while not over and client.recv(1 << 16):
                    pass
                over = True
            except BlockingIOError:
                pass
            except OSError:
                over = True
            if over:
                client.close()
                client = None
        if client:
            client.close()
        print(f"{frames} frames of RPC {'with' if token else 'without'} a token", flush=True)

    def everything(self, count, *arguments, key=None):
        """As many packets, streams and frames of RPC; memory is compared over the second half."""
        rpc = f"{self.network}.2:7373"
        agents = self.start_three("-event-rate", "100000", "-query-rate", "100000", *arguments)
        beta = agents[1]
        beta.stop()
        beta.command[beta.command.index("-rpc-addr") + 1] = rpc
        beta.start()
        before = None
        for half in range(2):
            self.storm(beta, count // 4, count // 4, seed=10 + half)
            self.storm(beta, count // 4, count // 4, seed=20 + half, key=key)
            self.rpc_storm((f"{self.network}.2", 7373), count // 2, seed=30 + half)
            self.unharmed(agents)
            if half == 0:
                before = beta.memory_kib()
        growth = beta.memory_kib() - before
        print(f"resident {before} KiB after the first half, {growth} KiB more after the second")
        if harness.SCALE == 1:
            self.assertLess(growth, GROWTH_KIB)

    @takes(120)
    def test_some_of_everything(self):
        key = run(BINARY, "keygen").stdout.strip()
        self.everything(2000, "-encrypt", key, key=key)

    @takes(3600)
    @harness.soak
    def test_a_hundred_thousand_of_each_with_a_key(self):
        key = run(BINARY, "keygen").stdout.strip()
        self.everything(100_000, "-encrypt", key, key=key)

    @takes(3600)
    @harness.soak
    def test_a_hundred_thousand_of_each_without_a_key(self):
        self.everything(100_000)

    @takes(120)
    def test_storm_without_a_key(self):
        agents = self.start_three()
        self.storm(agents[2], 5_000, 50, seed=4)
        self.unharmed(agents)


if __name__ == "__main__":
    harness.main()
