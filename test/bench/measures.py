# SPDX-License-Identifier: Apache-2.0
"""What is measured. Each measure plays the same work with one kind of agent and returns its figures:
{figure name: [values]}; a value of None is a run that did not get there in time."""

import os
import random
import signal
import subprocess
import tempfile
import time

import profile_processor as profile
from fleet import Fleet, traffic
from rpc import Collector

QUIET = 3.0  # seconds of rest before something is measured


def started(kind, count, handler=None, arguments=()):
    """A fleet in which all agree; `handler`: (event, command) that every agent has."""
    fleet = Fleet(kind)
    try:
        fleet.start(count, (*arguments, *(fleet.handler(*handler) if handler else ())))
        if fleet.agreed() is None:
            raise RuntimeError(f"{count} agents of {kind.label} did not agree")
    except BaseException:
        fleet.__exit__()
        raise
    time.sleep(QUIET)
    return fleet


def startup(kind, settings):
    """From exec to the first answer over the RPC, alone on the host."""
    values = []
    for _ in range(settings.runs(20)):
        with Fleet(kind) as fleet:
            began = time.monotonic()
            agent = fleet.add()
            agent.connect().members()
            values.append((time.monotonic() - began) * 1000)
    return {"start to first answer, ms": values}


def rest(kind, settings):
    """Memory and idle cost, alone and in clusters."""
    figures = {}
    for count in settings.sizes([1, 30, 100, 200]):
        with started(kind, count) as fleet:
            time.sleep(settings.seconds(10))
            processor, (size, packets) = fleet.processor_seconds(), traffic()
            began = time.monotonic()
            time.sleep(settings.seconds(30))
            length = time.monotonic() - began
            scale = length * count
            after_size, after_packets = traffic()
            pss, private = fleet.memory_kib()
            at = f"N = {count}"
            figures[f"PSS, MiB, {at}"] = [pss / 1024]
            figures[f"private memory, MiB, {at}"] = [private / 1024]
            figures[f"idle processor, %, {at}"] = [
                100 * (fleet.processor_seconds() - processor) / scale]
            if count > 1:
                figures[f"idle bytes/s, {at}"] = [(after_size - size) / scale]
                figures[f"idle packets/s, {at}"] = [(after_packets - packets) / scale]
    return figures


def rest_equal(kind, settings):
    """What agents at rest send, both with a probe a second: Serf's interval, and that of Starling's
    profile for wide networks."""
    figures = {}
    arguments = ("-profile", "wan") if kind.name == "starling" else ()
    for count in settings.sizes([30, 100]):
        with started(kind, count, arguments=arguments) as fleet:
            time.sleep(settings.seconds(10))
            (size, packets), began = traffic(), time.monotonic()
            time.sleep(settings.seconds(60))
            after_size, after_packets = traffic()
            scale = (time.monotonic() - began) * count
        at = f"at a probe a second, N = {count}"
        figures[f"idle bytes/s {at}"] = [(after_size - size) / scale]
        figures[f"idle packets/s {at}"] = [(after_packets - packets) / scale]
    return figures


def join_together(kind, settings):
    """Agents that are started at the same moment through one; from the first exec."""
    figures = {}
    for count in settings.sizes([60, 100]):
        values = []
        for _ in range(settings.runs(10)):
            with Fleet(kind) as fleet:
                first = fleet.add()
                first.connect().close()
                began = time.monotonic()
                for _ in range(1, count):
                    fleet.add([first])
                agreed = fleet.agreed(120)
                values.append(None if agreed is None else time.monotonic() - began)
        figures[f"started at once, all agree, s, N = {count}"] = values
    return figures


def join_later(kind, settings):
    """Agents that run alone and are told to join one of them at the same moment."""
    figures = {}
    for count in settings.sizes([60]):
        values = []
        for _ in range(settings.runs(3)):
            with Fleet(kind) as fleet:
                for _ in range(count):
                    fleet.add()
                connections = fleet.connect()
                time.sleep(QUIET)
                target = f"{fleet.agents[0].address}:7946"
                began = time.monotonic()
                for connection in connections[1:]:
                    connection.send("join", {"Existing": [target], "Replay": False})
                agreed = fleet.agreed(120)
                values.append(None if agreed is None else time.monotonic() - began)
        figures[f"running alone, told to join at once, all agree, s, N = {count}"] = values
    return figures


def share_reached(moments, count, share):
    """When that share of `count` was reached; None when it was not."""
    needed = -(-count * share // 100)  # rounded up
    return sorted(moments)[int(needed) - 1] if len(moments) >= needed else None


def events(kind, settings):
    """One event at a time: until half, 99 % and all of the members have told their subscribers; and
    until the sender has its answer."""
    count = settings.members(100)
    figures = {}
    with started(kind, count) as fleet:
        collector = Collector(fleet.addresses(), "user")
        sender = fleet.agents[0].connect()
        for coalesce, runs in ((False, settings.runs(20)), (True, settings.runs(5))):
            mode = "coalescing on" if coalesce else "coalescing off"
            for number in range(runs):
                name = f"event-{coalesce}-{number}"
                seen = {}
                began = time.monotonic()
                # Nobody waits for the answer: Starling's comes when its disk has the event.
                sender.send("event", {"Name": name, "Payload": b"x" * 100, "Coalesce": coalesce})

                def take(moment, agent, record, name=name, seen=seen, began=began):
                    if record.get("Name") == name:
                        seen.setdefault(agent, (moment - began) * 1000)
                collector.until(lambda seen=seen: len(seen) == count, 30, take)
                for share in (50, 99, 100):
                    figures.setdefault(f"event to {share} %, {mode}, ms", []).append(
                        share_reached(seen.values(), count, share))
                sender.next_object()
                time.sleep(0.3)
        for number in range(settings.runs(20)):
            began = time.monotonic()
            sender.event(f"accepted-{number}", b"x" * 100)
            figures.setdefault("event accepted, ms", []).append((time.monotonic() - began) * 1000)
            time.sleep(0.1)
        collector.close()
    return figures


def burst(kind, settings):
    """200 events from one agent, as fast as it takes them."""
    count, size = settings.members(100), 200
    complete, share = [], []
    with started(kind, count) as fleet:
        collector = Collector(fleet.addresses(), "user")
        sender = fleet.agents[0].connect()
        for run in range(settings.runs(3)):
            seen = set()

            def take(_moment, agent, record, run=run, seen=seen):
                if record.get("Name", "").startswith(f"burst-{run}-"):
                    seen.add((agent, record["Name"]))
            began = time.monotonic()
            for number in range(size):
                sender.event(f"burst-{run}-{number}", b"x" * 100)
            whole = collector.until(lambda seen=seen: len(seen) == count * size, 60, take)
            complete.append(time.monotonic() - began if whole else None)
            share.append(100 * len(seen) / (count * size))
            collector.drain()
        collector.close()
    return {f"burst of {size} to all of {count}, s": complete,
            f"burst of {size}: delivered, %": share}


def flood(kind, settings):
    """1,000 events from each of ten agents among sixty, and how many come more than once."""
    count, senders, size = settings.members(60), 10, settings.scaled(1000)
    expected = count * senders * size
    with started(kind, count) as fleet:
        collector = Collector(fleet.addresses(), "user")
        connections = [agent.connect() for agent in fleet.agents[:senders]]
        seen, again = set(), 0

        def take(_moment, agent, record):
            nonlocal again
            key = (agent, record["Name"])
            again += key in seen
            seen.add(key)
        began = last = time.monotonic()
        refused = 0
        for number in range(size):
            for sender, connection in enumerate(connections):
                connection.send("event", {"Name": f"{sender}-{number}", "Payload": b"x" * 100,
                                          "Coalesce": False})
            for record in collector.read(0):
                take(*record)
        for connection in connections:
            for _ in range(size):
                refused += connection.next_object()["Error"] != ""
        # Over when all is there, or when nothing has come for ten seconds.
        while len(seen) < expected:
            records = collector.read(10)
            if not records:
                break
            for record in records:
                take(*record)
            last = time.monotonic()
        collector.close()
    what = f"{senders} x {size} events to {count}"
    return {f"{what}: delivered, %": [100 * len(seen) / expected],
            f"{what}: delivered again": [again], f"{what}: refused": [refused],
            f"{what}: until the last, s": [last - began]}


def query(kind, settings):
    """`query` on the command line with a handler on every member, until it is back."""
    count = settings.members(100)
    values, answers = [], []
    with started(kind, count, ("query:bench", "echo ok")) as fleet:
        for _ in range(settings.runs(5)):
            began = time.monotonic()
            done = subprocess.run(kind.query(fleet.agents[0], "bench"), capture_output=True,
                                  text=True, check=False, timeout=120)
            values.append((time.monotonic() - began) * 1000)
            answers.append(sum(line.startswith("Response from")
                               for line in done.stdout.splitlines()))
            time.sleep(1)
    return {f"query back, ms, N = {count}": values, f"query: answers, N = {count}": answers}


def detection(kind, settings):
    """One member is killed, or stops without a word: until all others have told."""
    count = settings.members(100)
    figures = {}
    for what, number in (("killed", signal.SIGKILL), ("silent", signal.SIGSTOP)):
        runs = settings.runs(5)
        with started(kind, count) as fleet:
            collector = Collector(fleet.addresses(), "member-failed")
            for run in range(runs):
                victim = fleet.agents[count - 1 - run]
                seen = {}

                def take(moment, agent, record, victim=victim, seen=seen):
                    names = [member["Name"] for member in record.get("Members", [])]
                    if victim.name in names:
                        seen.setdefault(agent, moment)
                began = time.monotonic()
                victim.signal(number)
                others = count - 1 - run
                whole = collector.until(lambda seen=seen, others=others: len(seen) >= others, 90,
                                        take)
                figures.setdefault(f"{what}, the first tells, s", []).append(
                    min(seen.values()) - began if seen else None)
                figures.setdefault(f"{what}, all have told, s", []).append(
                    max(seen.values()) - began if whole else None)
                time.sleep(2)
            collector.close()
    return figures


def cryptography(kind, settings):
    """What sealing and signatures add to the processor time of an event: 100 members with a cluster
    key, ten events a second, less what the same cluster takes at rest. Serf's binary has no symbols
    that would tell."""
    if kind.name != "starling":
        return {}
    count, seconds = settings.members(100), settings.seconds(20)
    key = subprocess.run([kind.binary, "keygen"], capture_output=True, text=True,
                         check=True).stdout.strip()
    with started(kind, count, arguments=("-encrypt", key)) as fleet:
        sender = fleet.agents[0].connect()
        names = profile.cryptographic_symbols()
        at_rest = profile.sample(fleet, seconds, names)
        sent = 0

        def send_on():
            nonlocal sent
            sender.event(f"event-{sent}", b"x" * 100)
            sent += 1
        busy = profile.sample(fleet, seconds, names, each=0.1, act=send_on)
    whole = busy.seconds - at_rest.seconds
    of_sodium = busy.within - at_rest.within
    deliveries = sent * count
    return {"processor of an event at a member, us": [1e6 * whole / deliveries],
            "of these in libsodium, us": [1e6 * of_sodium / deliveries],
            "sealing and signatures add, %": [100 * of_sodium / (whole - of_sodium)]}


def handler_latency(kind, settings):
    """From the RPC's answer to an event to the first line of its handler, on the same host."""
    values = []
    with Fleet(kind) as fleet:
        script = os.path.join(fleet.folder, "stamp")
        output = os.path.join(fleet.folder, "stamps")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!/bin/dash\nread -r up _ < /proc/uptime\nexec date +%s.%N >> {output}\n")
        os.chmod(script, 0o755)
        agent = fleet.add(arguments=fleet.handler("user:bench", script))
        connection = agent.connect()
        time.sleep(QUIET)
        for number in range(settings.runs(20)):
            began = time.time()
            connection.event("bench")
            line = wait_for_lines(output, number + 1, 20)
            values.append((float(line) - began) * 1000 if line else None)
            time.sleep(0.2)
    return {"handler starts after an event, ms": values}


def handler_spread(kind, settings):
    """From an event at one member to the first line of its handler on all of them."""
    count, half, last = settings.members(30), [], []
    with tempfile.TemporaryDirectory() as folder:
        script, output = os.path.join(folder, "stamp"), os.path.join(folder, "stamps")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!/bin/dash\nexec date +%s.%N >> {output}\n")
        os.chmod(script, 0o755)
        with started(kind, count, ("user:bench", script)) as fleet:
            sender = fleet.agents[0].connect()
            for number in range(1, settings.runs(10) + 1):
                began = time.time()
                sender.send("event", {"Name": "bench", "Payload": b"", "Coalesce": False})
                whole = wait_for_lines(output, number * count, 60) is not None
                sender.next_object()
                with open(output, encoding="ascii") as file:
                    stamps = sorted(float(line) for line in file.read().splitlines())[-count:]
                half.append((stamps[count // 2] - began) * 1000 if whole else None)
                last.append((stamps[-1] - began) * 1000 if whole else None)
                if not whole:
                    break
                time.sleep(0.5)
    return {f"handler has started on half of {count}, ms": half,
            f"handler has started on all {count}, ms": last}


def handler_stall(kind, settings):
    """A handler sleeps for two seconds: how long an event for another handler, and a query that a
    third one answers, wait meanwhile. On the same host."""
    held, asked = [], []
    with Fleet(kind) as fleet:
        script = os.path.join(fleet.folder, "stamp")
        output = os.path.join(fleet.folder, "stamps")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!/bin/dash\nexec date +%s.%N >> {output}\n")
        os.chmod(script, 0o755)
        agent = fleet.add(arguments=["-event-handler", "user:slow=sleep 2",
                                     "-event-handler", f"user:next={script}",
                                     "-event-handler", "query:bench=echo ok"])
        connection = agent.connect()
        time.sleep(QUIET)
        for number in range(settings.runs(5)):
            connection.event("slow")
            time.sleep(0.2)
            began = time.time()
            connection.event("next")
            line = wait_for_lines(output, number + 1, 20)
            held.append((float(line) - began) * 1000 if line else None)
            time.sleep(3)
            connection.event("slow")
            time.sleep(0.2)
            began = time.monotonic()
            done = subprocess.run(kind.query(agent, "bench"), capture_output=True, text=True,
                                  check=False, timeout=120)
            answered = "Response from" in done.stdout
            asked.append((time.monotonic() - began) * 1000 if answered else None)
            time.sleep(3)
    return {"next event's handler starts while one sleeps for 2 s, ms": held,
            "query answered meanwhile, ms": asked}


def wait_for_lines(path, count, seconds):
    """The last line of a file, once it has that many; None when time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with open(path, encoding="ascii") as file:
                lines = file.read().splitlines()
            if len(lines) >= count:
                return lines[-1]
        except FileNotFoundError:
            pass
        time.sleep(0.001)
    return None


def handler_rate(kind, settings):
    """Handlers a second, four at once where the agent can do that. Nobody waits for the answer to an
    event before sending the next one: Starling's comes when its disk has the event."""
    size = settings.scaled(1000)
    with Fleet(kind) as fleet:
        output = os.path.join(fleet.folder, "done")
        script = os.path.join(fleet.folder, "work")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"#!/bin/dash\necho >> {output}\n")
        os.chmod(script, 0o755)
        agent = fleet.add(arguments=fleet.handler("user:bench", script, concurrency=4,
                                                   queue=2 * size))
        connection = agent.connect()
        time.sleep(QUIET)
        before = agent.processor_seconds()
        began = time.monotonic()
        for number in range(size):
            connection.send("event", {"Name": "bench", "Payload": str(number).encode(),
                                      "Coalesce": False})
        for _ in range(size):
            if connection.next_object()["Error"]:
                raise RuntimeError("an event was refused")
        whole = wait_for_lines(output, size, 120) is not None
        length = time.monotonic() - began
        processor = agent.processor_seconds() - before
    return {"handler runs a second": [size / length if whole else None],
            "processor of the agent for a handler run, ms": [1000 * processor / size]}


def stress(kind, settings):
    """A fifth of the agents stand still for 2 to 8 s again and again; failures of all others."""
    count, length = settings.members(60), settings.seconds(120)
    random.seed(1)
    with started(kind, count) as fleet:
        collector = Collector(fleet.addresses(), "member-failed")
        victims = fleet.agents[-count // 5:]
        names = {agent.name for agent in victims}
        false, of_paused = 0, 0

        def take(_moment, _agent, record):
            nonlocal false, of_paused
            for member in record.get("Members", []):
                if member["Name"] in names:
                    of_paused += 1
                else:
                    false += 1
        changes = {}
        end = time.monotonic() + length
        for agent in victims:
            changes[agent] = (time.monotonic() + random.uniform(0, 4), False)
        while time.monotonic() < end:
            for agent, (moment, paused) in list(changes.items()):
                if time.monotonic() < moment:
                    continue
                agent.signal(signal.SIGCONT if paused else signal.SIGSTOP)
                wait = random.uniform(1, 4) if paused else random.uniform(2, 8)
                changes[agent] = (time.monotonic() + wait, not paused)
            for record in collector.read(0.05):
                take(*record)
        for agent in victims:
            agent.signal(signal.SIGCONT)
        collector.until(lambda: False, 5, take)
        collector.close()
    return {"stress: failures told of members that never stood still": [false],
            "stress: failures told of members that stood still": [of_paused]}


ALL = {
    "startup": startup,
    "rest": rest,
    "rest-equal": rest_equal,
    "join-together": join_together,
    "join-later": join_later,
    "events": events,
    "burst": burst,
    "flood": flood,
    "query": query,
    "detection": detection,
    "cryptography": cryptography,
    "handler-latency": handler_latency,
    "handler-spread": handler_spread,
    "handler-rate": handler_rate,
    "handler-stall": handler_stall,
    "stress": stress,
}
