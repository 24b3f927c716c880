# SPDX-License-Identifier: Apache-2.0
"""A hostile peer: traffic that was captured and is sent again, strangers who want answers or sit on
streams, and somebody with the cluster key who floods, bombs and lies about the time."""

import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

import harness
from harness import BINARY, PORT, Case, needs_root, run, takes, wait_for

PROGRAM = os.path.join(os.environ.get("STARLING_BUILD", os.path.dirname(BINARY)), "test", "fuzz",
                       "hostile_peer")
OUTGOING = 4  # PACKET_OUTGOING: loopback shows everything twice


class Capture:
    """What arrives at one address over loopback: datagrams, and what each stream's opener said."""

    def __init__(self, address):
        self.datagrams = []
        self.streams = {}
        self._target = socket.inet_aton(address)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x0800))
        self._socket.bind(("lo", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        while not self._over.is_set():
            try:
                frame, meta = self._socket.recvfrom(70000)
            except socket.timeout:
                continue
            if meta[2] != OUTGOING:
                self._take(frame[14:])

    def _take(self, packet):
        header = (packet[0] & 15) * 4
        if packet[16:20] != self._target:
            return
        body = packet[header:struct.unpack("!H", packet[2:4])[0]]
        source, target = struct.unpack("!HH", body[:4])
        if target != PORT:
            return
        if packet[9] == socket.IPPROTO_UDP:
            self.datagrams.append(body[8:])
        elif packet[9] == socket.IPPROTO_TCP:
            data = body[(body[12] >> 4) * 4:]
            if data:
                stream = self.streams.setdefault((packet[12:16], source), [])
                if data not in stream:
                    stream.append(data)

    def end(self):
        self._over.set()
        self._thread.join()
        self._socket.close()
        return self


class Hostile(Case):
    def setUp(self):
        super().setUp()
        self.key = run(BINARY, "keygen").stdout.strip()

    def pair(self, *handlers):
        arguments = ["-encrypt", self.key]
        for handler in handlers:
            arguments += ["-event-handler", handler]
        return self.cluster("alpha", "beta", arguments=arguments)

    def send_again(self, capture, agent, source):
        """Every captured datagram and stream once more, from another address."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind((source, 0))
            for number, datagram in enumerate(capture.datagrams):
                datagrams.sendto(datagram, (agent.address, PORT))
                if number % 50 == 0:
                    time.sleep(0.01)  # not more than its buffer takes
        for pieces in capture.streams.values():
            with socket.socket() as stream:
                stream.bind((source, 0))
                stream.settimeout(2)
                try:
                    stream.connect((agent.address, PORT))
                    stream.sendall(b"".join(pieces))
                    stream.shutdown(socket.SHUT_WR)
                    while stream.recv(65536):
                        pass
                except OSError:
                    pass  # cut off

    def unharmed(self, *agents):
        """All alive in each other's eyes, nobody else there, and still at work."""
        everyone = {agent.name: "alive" for agent in agents}
        for agent in agents:
            self.assertTrue(agent.running(), f"{agent.name} is gone")
            wait_for(lambda agent=agent: agent.members() == everyone,
                     f"{agent.name} sees exactly {everyone}")

    def drops(self, agent):
        return {name: int(count) for name, count in agent.info()["drops"].items()}

    # --- replay ---

    @needs_root
    @takes(120)
    def test_yesterdays_traffic_changes_nothing(self):
        alpha, beta = self.pair("user=echo $SERF_USER_EVENT >> heard", "query=echo $SERF_QUERY_NAME >> heard; "
                                "echo answer", "member-join,member-failed,member-leave,member-update="
                                "echo $SERF_EVENT >> members")
        capture = Capture(alpha.address)
        beta.cli("event", "-coalesce=false", "deploy", "v1")
        beta.cli("event", "-coalesce=false", "large", "x" * 20_000)  # travels over streams
        beta.cli("query", "restart")
        beta.cli("tags", "-set", "role=old")
        wait_for(lambda: sorted(alpha.read("heard").split()) == ["deploy", "large", "restart"],
                 "alpha heard all of it")
        wait_for(lambda: alpha.member("beta")["tags"] == {"role": "old"}, "alpha sees the tag")
        capture.end()
        self.assertGreater(len(capture.datagrams), 3)
        beta.cli("tags", "-set", "role=new")
        wait_for(lambda: alpha.member("beta")["tags"] == {"role": "new"}, "alpha sees the new tag")

        def nothing_new(what):
            self.unharmed(alpha, beta)
            self.assertEqual(sorted(alpha.read("heard").split()), ["deploy", "large", "restart"],
                             what)
            self.assertEqual(alpha.member("beta")["tags"], {"role": "new"}, what)

        before = self.drops(alpha)["network.packets_replayed"]
        self.send_again(capture, alpha, f"{self.network}.99")
        wait_for(lambda: self.drops(alpha)["network.packets_replayed"] >=
                 before + len(set(capture.datagrams)), "every datagram is refused as heard before")
        nothing_new("sent again")
        # A receiver that has started again knows no counters; what the packets say is still old.
        alpha.kill()
        self.wait_seen([beta], alpha="failed")
        alpha.start()
        self.wait_formed([alpha, beta])
        self.send_again(capture, alpha, f"{self.network}.98")
        beta.cli("event", "-coalesce=false", "fresh")  # behind all that was sent again
        wait_for(lambda: "fresh" in alpha.read("heard"), "alpha hears what is new")
        with open(alpha.path("heard"), "w", encoding="ascii") as file:
            file.write("deploy\nlarge\nrestart\n")
        nothing_new("sent again after a restart")

    # --- strangers ---

    @takes(120)
    def test_a_stranger_gets_no_answer(self):
        alpha, beta = self.pair()
        sent = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((f"{self.network}.97", 0))
            for size in list(range(0, 1300, 7)) * 10:
                begin = bytes([1]) if size % 2 else b""
                sent += stranger.sendto((begin + os.urandom(size))[:size or 1], (alpha.address, PORT))
            self.unharmed(alpha, beta)  # it has read them meanwhile
            stranger.settimeout(0.5)
            with self.assertRaises(TimeoutError, msg="it answers strangers"):
                stranger.recvfrom(2000)
        received = said = 0
        for begin in (b"", b"STRL\x01" + bytes(40), b"GET / HTTP/1.0\r\n\r\n", os.urandom(4000)):
            with socket.create_connection((alpha.address, PORT), 5) as stream:
                try:
                    stream.sendall(begin)
                    stream.shutdown(socket.SHUT_WR)
                    said += len(begin)
                    while True:
                        data = stream.recv(4096)
                        if not data:
                            break
                        received += len(data)
                except ConnectionError:
                    pass
        print(f"answers to {sent} bytes of datagrams: 0; to {said} bytes on 4 streams: {received}")
        # A hello, whose sender has shown by the handshake of TCP that its address is its own.
        self.assertLessEqual(received, 4 * 45)

    @takes(120)
    def test_slow_strangers_keep_nobody_out(self):
        alpha, beta = self.pair()
        before = alpha.memory_kib()
        held = []
        for _ in range(300):
            stream = socket.create_connection((alpha.address, PORT), 5)
            stream.sendall(b"STRL")
            held.append(stream)
        for stream in held[-60:]:
            try:
                stream.sendall(b"\x01")
            except OSError:
                pass
        # Meanwhile somebody joins, over streams of his own.
        gamma = self.agent("gamma", "-encrypt", self.key, join=[alpha.endpoint]).start()
        self.wait_formed([alpha, beta, gamma])
        self.assertGreaterEqual(self.drops(alpha)["network.handshakes_limit"], 300 - 64 - 4)
        growth = alpha.memory_kib() - before
        for stream in held:
            stream.close()
        print(f"300 streams of strangers: {growth} KiB")
        if harness.SCALE == 1:
            self.assertLess(growth, 4 * 1024)

    # --- with the cluster's key ---

    def attack(self, agent, *arguments):
        done = subprocess.run([PROGRAM, "--target", agent.endpoint, "--key", self.key, *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=100 * harness.SCALE)
        print(done.stdout.strip(), flush=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def peak_kib(self, agent):
        with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])

    def still_hear(self, *agents):
        agents[-1].cli("event", "-coalesce=false", "still", "here")
        for agent in agents:
            wait_for(lambda agent=agent: agent.read("heard").endswith("here\n"),
                     f"{agent.name} hears an event")

    @takes(120)
    def test_bombs_cost_little(self):
        """Messages of the largest size, of as many, as deep and as empty parts as fit."""
        alpha, beta = self.pair("user:still=cat >> heard")
        before = self.peak_kib(alpha)
        self.attack(alpha, "--attack", "bombs", "--count", "40")
        self.unharmed(alpha, beta)
        self.still_hear(alpha, beta)
        growth = self.peak_kib(alpha) - before
        print(f"at most {growth} KiB more than before")
        if harness.SCALE == 1:
            self.assertLess(growth, 128 * 1024)

    @takes(120)
    def test_giants_that_do_not_end_are_bounded(self):
        alpha, beta = self.pair("user:still=cat >> heard")
        before = self.peak_kib(alpha)
        self.attack(alpha, "--attack", "giants", "--count", "40")
        self.unharmed(alpha, beta)
        self.still_hear(alpha, beta)
        growth = self.peak_kib(alpha) - before
        print(f"40 streams of 1 MiB that do not end: at most {growth} KiB more than before")
        if harness.SCALE == 1:
            self.assertLess(growth, 80 * 1024)

    @takes(120)
    def test_a_clock_far_in_the_future_is_not_believed(self):
        alpha, beta = self.pair("user:still=cat >> heard")
        self.attack(alpha, "--attack", "future", "--count", "200")
        self.unharmed(alpha, beta)
        self.still_hear(alpha, beta)
        for agent in (alpha, beta):
            clocks = agent.info()["serf"]
            for name in ("member_time", "event_time", "query_time"):
                self.assertLess(int(clocks[name]), 1 << 62)

    @takes(120)
    def test_nobody_speaks_in_anothers_name(self):
        alpha, beta = self.pair("user=echo $SERF_USER_EVENT >> names; cat >> heard",
                                "query=echo $SERF_QUERY_NAME >> names")
        self.still_hear(alpha, beta)
        sent = json.loads(beta.cli("event", "-coalesce=false", "-format", "json", "real", "1").stdout)
        self.attack(alpha, "--attack", "names", "--after", sent["id"], "--count", "200")
        wait_for(lambda: self.drops(alpha)["core.events_forged"] > 10, "alpha counts forged events")
        self.assertGreater(self.drops(alpha)["core.queries_forged"], 10)
        self.assertGreater(self.drops(alpha)["core.records_unverified"], 100)
        self.assertIn("not signed by the member in whose name they are", alpha.log())
        # The sequences that were taken in vain are still beta's.
        beta.cli("event", "-coalesce=false", "real", "2")
        beta.cli("query", "asked", check=False)
        self.still_hear(alpha, beta)
        self.assertEqual(sorted(set(alpha.read("names").split())), ["asked", "real", "still"])
        self.unharmed(alpha, beta)

    @takes(180)
    def test_an_event_flood_is_bounded(self):
        alpha, beta = self.pair("user:still=cat >> heard")
        before = alpha.memory_kib()
        self.attack(alpha, "--attack", "events", "--count", "40000")
        self.unharmed(alpha, beta)
        self.still_hear(alpha, beta)
        growth = alpha.memory_kib() - before
        print(f"40000 events of an invented origin: {growth} KiB")
        if harness.SCALE == 1:
            self.assertLess(growth, 96 * 1024)


if __name__ == "__main__":
    harness.main()
