# SPDX-License-Identifier: Apache-2.0
"""What the lints share: the files of the tree, findings, and code without comments and strings."""

import argparse
import os
import re
import subprocess
import sys

SKIPPED_FOLDERS = {".git", ".cache", "build", "__pycache__"}


class Finding:
    """One violation, printed as compilers do."""

    def __init__(self, path, line, text):
        self.path = path
        self.line = line
        self.text = text

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


def list_files(root):
    """Paths relative to `root`: what git tracks or would track; without git, every file there is."""
    if os.path.exists(os.path.join(root, ".git")):
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={os.path.abspath(root)}", "-C", root, "ls-files", "-z",
             "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, check=True).stdout.decode()
        paths = [path for path in listed.split("\0") if path]
    else:
        paths = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
            paths += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(path for path in set(paths) if os.path.isfile(os.path.join(root, path)))


def read_text(root, path):
    """The file's text, or None when it is not text."""
    with open(os.path.join(root, path), "rb") as file:
        data = file.read()
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


_NOISE = re.compile(
    r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'"  # not the ' of 1'000'000
    r"|//[^\n]*|/\*.*?\*/", re.S)


def code_only(text):
    """C++ with comments and literals blanked; offsets and lines stay as they are."""
    return _NOISE.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def main(check, description):
    """Runs `check(root) -> findings`, prints them, and exits with 1 when there is one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("root", nargs="?",
                        default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    findings = check(parser.parse_args().root)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding(s)")
    sys.exit(1 if findings else 0)
