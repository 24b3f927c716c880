# SPDX-License-Identifier: Apache-2.0
"""Serf's RPC, as a client: one blocking connection, and a collector that listens to many at once.

Both kinds of agent speak it, so that both are measured by the same code.
"""

import selectors
import socket
import time

import msgpack

PORT = 7373
TIMEOUT = 20.0


class RpcError(Exception):
    """The agent answered with an error."""


class Connection:
    """One connection after its handshake. Requests are answered in order; what a stream or query
    sends in between goes to `records`, as (sequence, header, body)."""

    def __init__(self, address, port=PORT):
        self.socket = socket.create_connection((address, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
        self.sequence = 0
        self.call("handshake", {"Version": 1})

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def send(self, command, body=None):
        """Sends a request; returns its sequence number."""
        self.sequence += 1
        message = msgpack.packb({"Command": command, "Seq": self.sequence}, use_bin_type=True)
        if body is not None:
            message += msgpack.packb(body, use_bin_type=True)
        self.socket.sendall(message)
        return self.sequence

    def next_object(self):
        """Blocks until one msgpack object is whole."""
        while True:
            for value in self.unpacker:
                return value
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the agent closed the connection")
            self.unpacker.feed(data)

    def arrived(self):
        """Objects that are here, without waiting for more; call when readable."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the agent closed the connection")
        self.unpacker.feed(data)
        return list(self.unpacker)

    def call(self, command, body=None, answers=False):
        """One request and its answer; with `answers` a body follows the header."""
        sequence = self.send(command, body)
        header = self.next_object()
        while header["Seq"] != sequence:
            header = self.next_object()
        if header["Error"]:
            raise RpcError(f"{command}: {header['Error']}")
        return self.next_object() if answers else None

    def members(self):
        """{name: status}"""
        found = self.call("members", answers=True)["Members"] or []
        return {member["Name"]: member["Status"] for member in found}

    def alive(self):
        """How many members are neither failed nor gone: much cheaper than a list of them."""
        counts = self.call("stats", answers=True)["serf"]
        return int(counts["members"]) - int(counts["failed"]) - int(counts["left"])

    def event(self, name, payload=b"", coalesce=False):
        self.call("event", {"Name": name, "Payload": payload, "Coalesce": coalesce})

    def query(self, name, payload=b"", timeout=0.0):
        """Yields (seconds, type, from) for each record, until the query is done."""
        began = time.monotonic()
        self.call("query", {"Name": name, "Payload": payload, "Timeout": int(timeout * 1e9),
                            "RequestAck": True})
        while True:
            self.next_object()  # the header
            record = self.next_object()
            yield time.monotonic() - began, record["Type"], record["From"]
            if record["Type"] == "done":
                return


class Collector:
    """Streams of events from many agents, each with the moment at which it was read.

    One thread reads all of them as they become readable: with N agents the last of one wave is read
    up to N * 30 us late, which is the same for whoever is measured."""

    def __init__(self, addresses, events):
        self.selector = selectors.DefaultSelector()
        self.connections = []
        self.pending = {}
        for index, address in enumerate(addresses):
            connection = Connection(address)
            connection.call("stream", {"Type": events})
            self.connections.append(connection)
            self.pending[index] = []
            self.selector.register(connection, selectors.EVENT_READ, index)
        self.lost = set()  # agents whose connection ended

    def close(self):
        self.selector.close()
        for connection in self.connections:
            connection.close()

    def read(self, timeout):
        """[(moment, agent, record)] of what comes within `timeout` seconds; returns with the first."""
        records = []
        for key, _ in self.selector.select(timeout):
            moment = time.monotonic()
            index = key.data
            try:
                objects = self.pending[index] + self.connections[index].arrived()
            except (ConnectionError, OSError):
                self.lost.add(index)
                self.selector.unregister(key.fileobj)
                continue
            # A header and a body make one record.
            whole = len(objects) - len(objects) % 2
            records += [(moment, index, objects[place]) for place in range(1, whole, 2)]
            self.pending[index] = objects[whole:]
        return records

    def until(self, done, seconds, take):
        """Gives each record to `take(moment, agent, record)` until `done()`; False when time is up."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for record in self.read(left):
                take(*record)
        return True

    def drain(self, quiet=0.2):
        """Throws away what comes until nothing has come for `quiet` seconds."""
        while self.read(quiet):
            pass
