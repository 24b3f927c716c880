#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-format over all C++ and shellcheck over all scripts: `tools.py format|shell [root]`."""

import argparse
import os
import subprocess
import sys

import tree

CLANG_FORMAT = "clang-format-19"


def sources(root):
    return [path for path in tree.list_files(root) if path.endswith((".cc", ".h"))]


def scripts(root):
    """Shell scripts, by their first line."""
    found = []
    for path in tree.list_files(root):
        with open(os.path.join(root, path), "rb") as file:
            first = file.readline(80)
        if first.startswith(b"#!") and first.split(b"/")[-1].split()[-1] in (b"sh", b"bash"):
            found.append(path)
    return found


def run(root, command, paths):
    if not paths:
        return 0
    return subprocess.run(command + paths, cwd=root, check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("format", "shell"))
    parser.add_argument("root", nargs="?",
                        default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    arguments = parser.parse_args()
    if arguments.what == "format":
        paths = sources(arguments.root)
        status = run(arguments.root, [CLANG_FORMAT, "--dry-run", "-Werror"], paths)
        if status:
            print(f"remedy: {CLANG_FORMAT} -i FILE")
    else:
        paths = scripts(arguments.root)
        status = run(arguments.root, ["shellcheck", "--external-sources"], paths)
    print(f"{len(paths)} file(s)")
    sys.exit(1 if status else 0)


if __name__ == "__main__":
    main()
