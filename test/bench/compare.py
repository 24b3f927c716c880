# SPDX-License-Identifier: Apache-2.0
"""Measures Debian's serf and Starling in turn on the same work. Run it by test/bench/run.sh, which
gives it a network and process namespace of its own."""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time

import fleet
import measures
from report import Report

FILES = 65536


class Settings:
    """How much of each measure. `--quick` is for seeing that all of it works."""

    def __init__(self, arguments):
        self.quick = arguments.quick
        self.override = arguments.runs
        self.only_sizes = arguments.sizes

    def runs(self, usual):
        return self.override or (2 if self.quick else usual)

    def sizes(self, usual):
        if self.only_sizes:
            return self.only_sizes
        return [min(usual), 5] if self.quick and min(usual) == 1 else [5] if self.quick else usual

    def members(self, usual):
        if self.only_sizes:
            return max(self.only_sizes)
        return 12 if self.quick else usual

    def seconds(self, usual):
        return min(usual, 3) if self.quick else usual

    def scaled(self, usual):
        return max(usual // 50, 1) if self.quick else usual


def busy_seconds():
    """Of all processors together since the machine started, whoever used them."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(value) for value in file.readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / fleet.TICKS


def own_seconds():
    """Of this process, and of what it started and has ended."""
    return sum(os.times()[:4])


def version_of(command):
    return subprocess.run(command, capture_output=True, text=True,
                          check=False).stdout.splitlines()[0]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="MEASURE",
                        help="some of: " + ", ".join(measures.ALL))
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works")
    parser.add_argument("--runs", type=int, help="runs of each measure, instead of its own number")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")],
                        help="members, as 30,100, instead of each measure's own")
    parser.add_argument("--kinds", default="serf,starling", help="what is measured, in this order")
    parser.add_argument("--out", help="folder for side-by-side.md, .json and .svg")
    parser.add_argument("--keep", action="store_true",
                        help="what the files in --out have of other measures stays in them")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.measures if name not in measures.ALL]
    if unknown:
        parser.error(f"no measure {unknown[0]}; there are: {', '.join(measures.ALL)}")
    return arguments


def main():
    arguments = parse()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    kinds = [fleet.KINDS[name] for name in arguments.kinds.split(",")]
    settings = Settings(arguments)
    report = Report([
        ("command", "test/bench/run.sh " + " ".join(sys.argv[1:])),
        ("machine", f"{os.cpu_count()} processors, Linux {platform.release()}"),
        ("Starling", version_of([fleet.Starling.binary, "version"])),
        ("Serf", "Debian's package, 0.9.4; " + version_of(["serf", "version"])),
    ], kinds)
    written = os.path.join(arguments.out or "", "side-by-side.json")
    if arguments.keep and arguments.out and os.path.exists(written):
        with open(written, encoding="utf-8") as file:
            report.keep(file.read())
    failed = 0
    for name in arguments.measures or measures.ALL:
        for kind in kinds:
            began, busy, own = time.monotonic(), busy_seconds(), own_seconds()
            print(f"{name}, {kind.label} ...", end=" ", file=sys.stderr, flush=True)
            try:
                figures = measures.ALL[name](kind, settings)
            except Exception as error:  # the other measures are worth having all the same
                failed += 1
                print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            length = time.monotonic() - began
            others = busy_seconds() - busy - (own_seconds() - own)
            report.add(name, kind, figures, max(0, 100 * others / length / os.cpu_count()))
            print(f"{length:.0f} s", file=sys.stderr)
    print(report.markdown())
    if arguments.out:
        os.makedirs(arguments.out, exist_ok=True)
        for ending, text in (("md", report.markdown()), ("json", report.json()),
                             ("svg", report.svg())):
            with open(os.path.join(arguments.out, f"side-by-side.{ending}"), "w",
                      encoding="utf-8") as file:
                file.write(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
