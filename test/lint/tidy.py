#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the compilation database, two files at once.

A file that passed is not looked at again until it, a header of ours that it includes, its compile
command, .clang-tidy or the tool changes: the hash of all these names an empty file in the cache.
System headers are taken as fixed; remove the cache after an upgrade of a library.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

import tree

CLANG_TIDY = "clang-tidy-19"
QUOTED = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)


class Hasher:
    """Hashes of a file with all headers of the tree that it includes, each file read once."""

    def __init__(self, roots):
        self.roots = roots
        self.read = {}

    def _includes(self, path):
        if path not in self.read:
            with open(path, "rb") as file:
                data = file.read()
            found = []
            for name in QUOTED.findall(data):
                for root in self.roots:
                    candidate = os.path.join(root, name.decode())
                    if os.path.isfile(candidate):
                        found.append(candidate)
                        break
            self.read[path] = (hashlib.sha256(data).digest(), found)
        return self.read[path]

    def digest(self, path, salt):
        seen, waiting = set(), [path]
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += self._includes(each)[1]
        total = hashlib.sha256(salt)
        for each in sorted(seen):
            total.update(each.encode() + self._includes(each)[0])
        return total.hexdigest()


def changed_files(root, base):
    """Files that differ from the merge base with `base`, and files not committed yet."""
    def git(*arguments):
        return subprocess.run(["git", "-c", f"safe.directory={root}", "-C", root, *arguments],
                              stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    merge_base = git("merge-base", base, "HEAD")[0]
    names = git("diff", "--name-only", merge_base) + git("ls-files", "--others",
                                                         "--exclude-standard")
    return {os.path.join(root, name) for name in names if name}


def commands(build, root):
    """{source file of the tree: its compile command}; generated code is left out."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        database = json.load(file)
    found = {}
    for entry in database:
        path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        if path.startswith(root + os.sep) and not path.startswith(build + os.sep):
            found[path] = entry.get("command") or shlex.join(entry["arguments"])
    return found


def check_one(path, build, root):
    started = time.monotonic()
    run = subprocess.run([CLANG_TIDY, "--quiet", "-p", build, path], cwd=root,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    text = run.stdout.decode(errors="replace")
    if run.returncode and not text.strip():
        text = run.stderr.decode(errors="replace")
    return run.returncode, text, time.monotonic() - started


def parse_arguments():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.normpath(os.path.join(here, "..", "..")))
    parser.add_argument("--build", help="folder with compile_commands.json "
                        "(default: build/release)")
    parser.add_argument("--cache", help="folder of what passed (default: build/tidy-cache)")
    parser.add_argument("--changed", metavar="BASE",
                        help="only files that differ from the merge base with BASE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--times", action="store_true", help="print seconds of each file")
    parser.add_argument("paths", nargs="*", help="only these files, and those in these folders")
    arguments = parser.parse_args()
    arguments.root = os.path.realpath(arguments.root)
    arguments.build = os.path.realpath(arguments.build or
                                       os.path.join(arguments.root, "build", "release"))
    arguments.cache = arguments.cache or os.path.join(arguments.root, "build", "tidy-cache")
    return arguments


def main():
    arguments = parse_arguments()
    known = commands(arguments.build, arguments.root)
    chosen = set(known)
    if arguments.paths:
        wanted = [os.path.realpath(path) for path in arguments.paths]
        chosen = {file for file in chosen
                  if any(file == path or file.startswith(path + os.sep) for path in wanted)}
    if arguments.changed:
        chosen &= changed_files(arguments.root, arguments.changed)
    version = subprocess.run([CLANG_TIDY, "--version"], stdout=subprocess.PIPE, check=True).stdout
    for path in tree.list_files(arguments.root):
        if os.path.basename(path) == ".clang-tidy":
            with open(os.path.join(arguments.root, path), "rb") as file:
                version += file.read()
    os.makedirs(arguments.cache, exist_ok=True)
    hasher = Hasher([arguments.root, arguments.build])
    waiting = {}
    for path in sorted(chosen):
        stamp = os.path.join(arguments.cache,
                             hasher.digest(path, version + known[path].encode()))
        if not os.path.exists(stamp):
            waiting[path] = stamp

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(check_one, path, arguments.build, arguments.root): path
                   for path in waiting}
        for future in concurrent.futures.as_completed(running):
            path = running[future]
            status, text, seconds = future.result()
            name = os.path.relpath(path, arguments.root)
            if arguments.times:
                print(f"{seconds:6.1f} s  {name}", flush=True)
            if status:
                failed += 1
                print(f"{name}:\n{text}", flush=True)
            else:
                with open(waiting[path], "w", encoding="utf-8"):
                    pass
    print(f"{len(chosen)} file(s), {len(waiting)} checked, {failed} with findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
