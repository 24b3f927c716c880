# SPDX-License-Identifier: Apache-2.0
"""A thousand agents on one host: all agree, one kill is noticed by all, one event reaches all, and
they stay agreed. Run it by `test/bench/run.sh thousand`, which gives it namespaces of its own."""

import argparse
import resource
import signal
import sys
import time

from fleet import KINDS, Fleet
from rpc import Collector, Connection


def tell(text):
    print(text, flush=True)


def listed(connection):
    """How many members the agent shows alive, by its list: a megabyte with a thousand."""
    return list(connection.members().values()).count("alive")


def agree_on(fleet, count, seconds, counted=Connection.alive):
    """Seconds until each running agent counts `count` members alive; asks one after the other."""
    began = time.monotonic()
    for agent in fleet.agents:
        if agent.process.poll() is not None:
            continue
        connection = agent.connect()
        while counted(connection) != count:
            if time.monotonic() - began > seconds:
                return None
            time.sleep(0.05)
        connection.close()
    return time.monotonic() - began


def wave(fleet, events, matches, act, seconds):
    """Seconds from `act()` until the first, half and all agents told of a record that matches."""
    agents = [agent for agent in fleet.agents if agent.process.poll() is None]
    collector = Collector([agent.address for agent in agents], events)
    left = act()
    began, seen = time.monotonic(), {}

    def take(moment, agent, record):
        if matches(record):
            seen.setdefault(agent, moment - began)
    collector.until(lambda: len(seen) >= len(agents) - left, seconds, take)
    collector.close()
    moments = sorted(seen.values())
    if len(moments) < len(agents) - left:
        return f"only {len(moments)} of {len(agents) - left} within {seconds} s", False
    return (f"first {moments[0]:.3f} s, half {moments[len(moments) // 2]:.3f} s, "
            f"all {moments[-1]:.3f} s"), True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=10, help="how long they must stay agreed")
    parser.add_argument("--kind", default="starling", choices=KINDS)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))
    count, good = arguments.members, True
    with Fleet(KINDS[arguments.kind]) as fleet:
        began = time.monotonic()
        fleet.start(count)
        tell(f"{count} agents launched in {time.monotonic() - began:.1f} s")
        agreed = agree_on(fleet, count, 600)
        good &= agreed is not None
        tell("they did not agree within 600 s" if agreed is None else
             f"all agree {time.monotonic() - began:.1f} s after the first was launched")
        if agree_on(fleet, count, 60, listed) is None:
            good = False
            tell("but their lists are not the same")
        pss, private = fleet.memory_kib()
        tell(f"memory of each: PSS {pss / 1024:.2f} MiB, private {private / 1024:.2f} MiB")

        sender = fleet.agents[1].connect()
        text, whole = wave(fleet, "user", lambda record: record.get("Name") == "thousand",
                           lambda: sender.event("thousand") or 0, 30)
        good &= whole
        tell(f"an event: {text}")

        victim = fleet.agents[count // 2]

        def kill():
            victim.signal(signal.SIGKILL)
            return 1
        text, whole = wave(
            fleet, "member-failed",
            lambda record: victim.name in [member["Name"] for member in record.get("Members", [])],
            kill, 60)
        good &= whole
        tell(f"a kill: {text}")

        processor, began = fleet.processor_seconds_of_running(), time.monotonic()
        rounds = 0
        while time.monotonic() - began < 60 * arguments.minutes or rounds == 0:
            agreed = agree_on(fleet, count - 1, 5)
            if agreed is None:
                good = False
                tell(f"disagreement after {time.monotonic() - began:.0f} s")
                break
            rounds += 1
            time.sleep(5)
        length = time.monotonic() - began
        used = fleet.processor_seconds_of_running() - processor
        tell(f"agreed for {length:.0f} s, asked {rounds} times; processor of each "
             f"{100 * used / length / count:.3f} %")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
