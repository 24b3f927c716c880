# SPDX-License-Identifier: Apache-2.0
"""What an agent costs as its cluster grows: one real agent, and bench_peers in the place of all other
members, over loopback. Run it by `test/bench/run.sh growth`, which gives it namespaces of its own."""

import argparse
import math
import os
import subprocess
import sys
import time

from fleet import ROOT, Fleet, Starling
from report import short

PEERS = os.environ.get("BENCH_PEERS",
                       os.path.join(ROOT, "build", "release", "test", "bench", "bench_peers"))


def wake_ups(pid):
    """How often its threads have been given a processor, or gave it up."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file
                         if line.startswith("voluntary_ctxt_switches"))
    return total


def alive(agent):
    done = subprocess.run([Starling.binary, "info", "-control",
                           os.path.join(agent.folder, "control.sock")],
                          capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        name, _, value = line.strip().partition(" = ")
        if name == "members":
            return int(value)
    return 0


def measure(members, seconds):
    """PSS and private KiB, processor %, wake-ups a second, seconds until all were known."""
    with Fleet(Starling) as fleet:
        agent = fleet.add()
        while not os.path.exists(os.path.join(agent.folder, "control.sock")):
            time.sleep(0.01)
        began = time.monotonic()
        with subprocess.Popen([PEERS, agent.address, str(members)],
                              stdout=subprocess.PIPE, text=True) as peers:
            peers.stdout.readline()  # "all told"
            told = time.monotonic() - began
            known = alive(agent)
            if known != members + 1:
                raise RuntimeError(f"the agent knows {known} members, not {members + 1}")
            time.sleep(10)
            processor, wakes = agent.processor_seconds(), wake_ups(agent.process.pid)
            began = time.monotonic()
            time.sleep(seconds)
            length = time.monotonic() - began
            pss, private = agent.memory_kib()
            result = (pss, private, 100 * (agent.processor_seconds() - processor) / length,
                      (wake_ups(agent.process.pid) - wakes) / length, told)
            peers.kill()
    return result


def panel(rows, title, value, place):
    """One plot over the logarithm of the members."""
    left, width, height = 70, 620, 220
    top = 50 + place * (height + 80)
    low = math.floor(math.log10(min(row[0] for row in rows)))
    high = math.ceil(math.log10(max(row[0] for row in rows)))
    most = max(value(row) for row in rows) * 1.1
    parts = [f'<text x="{left}" y="{top - 25}" font-size="15">{title}</text>']
    points = []
    for row in rows:
        x = left + (math.log10(row[0]) - low) / (high - low) * width
        y = top + height - value(row) / most * height
        points.append(f"{x:.1f},{y:.1f}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6feb"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">'
                     f'{short(value(row))}</text>')
        parts.append(f'<text x="{x:.1f}" y="{top + height + 20}" text-anchor="middle">'
                     f'{row[0]}</text>')
    parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="#1f6feb"/>')
    parts.append(f'<line x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}" '
                 'stroke="#888"/>')
    return parts


def svg(rows):
    """Memory and processor over members."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="720" height="640" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    parts += panel(rows, "Memory of one agent (PSS, MiB) against members",
                   lambda row: row[1] / 1024, 0)
    parts += panel(rows, "Its processor time at rest (% of a core) against members",
                   lambda row: row[3], 1)
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,3000,10000",
                        type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--out", help="folder for growth.md and growth.svg")
    arguments = parser.parse_args()
    rows = [(members, *measure(members, arguments.seconds)) for members in arguments.sizes]
    base = rows[0]
    lines = ["# One agent as its cluster grows", "",
             "- command: test/bench/run.sh growth " + " ".join(sys.argv[1:]),
             "- the agent is real; all other members are bench_peers, one process that speaks the "
             "protocol", "",
             "| members | PSS, MiB | private, MiB | bytes a member | processor, % of a core | "
             "wake-ups a second | all known after, s |",
             "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in rows:
        members, pss, private, processor, wakes, told = row
        each = (private - base[2]) * 1024 / (members - base[0]) if members > base[0] else None
        lines.append(f"| {members} | {short(pss / 1024)} | {short(private / 1024)} | {short(each)} "
                     f"| {processor:.2f} | {short(wakes)} | {short(told)} |")
    text = "\n".join(lines + [""])
    print(text)
    if arguments.out:
        for name, content in (("growth.md", text), ("growth.svg", svg(rows))):
            with open(os.path.join(arguments.out, name), "w", encoding="utf-8") as file:
                file.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
