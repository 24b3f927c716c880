# SPDX-License-Identifier: Apache-2.0
"""Where agents spend their processor time: samples of `perf`, told apart by function."""

import collections
import glob
import os
import subprocess
import time

RATE = 499  # samples a second and thread; no divisor of a timer's rate
Sample = collections.namedtuple("Sample", "seconds within")  # all, and in the named functions


def cryptographic_symbols():
    """The functions of libsodium, which a release is linked with statically."""
    archives = glob.glob("/usr/lib/*/libsodium.a")
    if not archives:
        raise RuntimeError("no libsodium.a: install libsodium-dev")
    listed = subprocess.run(["nm", "--defined-only", archives[0]], capture_output=True, text=True,
                            check=True).stdout
    fields = (line.split() for line in listed.splitlines())
    return {field[2] for field in fields if len(field) == 3 and field[1] in "tT"}


def sample(fleet, seconds, symbols, each=None, act=None):
    """Samples all agents of a fleet for that long, the kernel's work for them included; meanwhile
    calls `act()` every `each` seconds."""
    path = os.path.join(fleet.folder, "perf.data")
    processes = ",".join(str(agent.process.pid) for agent in fleet.agents)
    recording = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(RATE), "-o", path, "-p", processes,
         "--", "sleep", str(seconds)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    begin, acts = time.monotonic(), 0
    while recording.poll() is None:
        if act is None:
            recording.wait()
            break
        due = begin + acts * each - time.monotonic()
        if due > 0:
            time.sleep(min(due, 0.05))
            continue
        act()
        acts += 1
    if recording.returncode != 0:
        raise RuntimeError("perf record: " + recording.stderr.read().strip())
    listed = subprocess.run(["perf", "script", "-i", path, "-F", "ip,sym"], capture_output=True,
                            text=True, check=True).stdout.split("\n")
    names = [line.split(None, 1)[-1].strip() for line in listed if line.strip()]
    return Sample(len(names) / RATE, sum(name in symbols for name in names) / RATE)
