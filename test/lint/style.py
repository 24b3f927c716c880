#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What clang-format and clang-tidy do not see: licence lines, lengths, left-over marks, coroutines."""

import os
import re

import tree

SOURCE_LINES = 800
TEST_LINES = 1200

# Spelled in halves so that this file passes its own rule.
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
PRIVATE_PATHS = ("/wo" "rk/", "/tmp/bash" "_jobs", "/home" "/user/")

LICENSED = (".cc", ".h", ".proto", ".py", ".sh", ".cmake", ".service", ".conf", ".yaml", ".yml",
            "CMakeLists.txt")
# Test vectors and corpora are data: blanks and odd bytes are their point.
DATA = re.compile(r"(^|/)(corpus|vectors|testdata)/")

LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)(#[^)]*)?\)")
BINDING = re.compile(r"\bauto\s*&{0,2}\s*\[[^\]]*\]\s*[=({][^;]*\bco_await\b")
AWAITING_ROOMS = ("agent/", "handlers/process", "test/")


def check_lines(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith((" ", "\t", "\r")):
            yield tree.Finding(path, number, "blank at the end of the line")
        mark = MARKS.search(line)
        if mark:
            yield tree.Finding(path, number, f"{mark.group(1)}: do it, or open an issue")
        for word in PRIVATE_PATHS:
            if word in line:
                yield tree.Finding(path, number, f"{word} is a path of one machine")
    if text and not text.endswith("\n"):
        yield tree.Finding(path, text.count("\n") + 1, "no newline at the end of the file")


def check_license(path, text):
    first = text.split("\n", 1)[0]
    if not (path.endswith(LICENSED) or first.startswith("#!")):
        return
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in text.split("\n")[:3]):
        yield tree.Finding(path, 1, "no line SPDX-License-Identifier: Apache-2.0 at the top")


def check_cpp(path, text):
    lines = text.count("\n")
    limit = TEST_LINES if path.startswith("test/") else SOURCE_LINES
    if lines > limit:
        yield tree.Finding(path, limit, f"{lines} lines; at most {limit}: one file, one subject")
    if path.endswith(".h") and "#pragma once" not in text:
        yield tree.Finding(path, 1, "a header without #pragma once")
    code = tree.code_only(text)
    for match in BINDING.finditer(code):
        yield tree.Finding(path, tree.line_of(code, match.start()),
                           "structured binding on co_await: GCC 15 skips its destructors")
    if not path.startswith(AWAITING_ROOMS):
        for match in re.finditer(r"\bco_await\b", code):
            yield tree.Finding(path, tree.line_of(code, match.start()),
                               "co_await belongs to agent/ and handlers/process*")


def check_links(root, path, text):
    for match in LINK.finditer(text):
        target = os.path.join(root, os.path.dirname(path), match.group(1))
        if not os.path.exists(target):
            yield tree.Finding(path, tree.line_of(text, match.start()),
                               f"a link to {match.group(1)}, which is not there")


def check(root):
    findings = []
    for path in tree.list_files(root):
        if DATA.search(path):
            continue
        text = tree.read_text(root, path)
        if text is None:
            continue
        findings += check_lines(path, text)
        findings += check_license(path, text)
        if path.endswith((".cc", ".h")):
            findings += check_cpp(path, text)
        if path.endswith(".md"):
            findings += check_links(root, path, text)
    return findings


if __name__ == "__main__":
    tree.main(check, __doc__)
