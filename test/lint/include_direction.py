#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Includes run one way: agent -> handlers -> proto and agent -> membership -> proto.

Also keeps what membership/ may not touch (sockets, files, threads, clocks, chance) out of it, and
agent/cli away from the inside of the agent that it talks to.
"""

import re

import tree

LAYERS = ("proto", "membership", "handlers", "agent", "test")

# Who may include whom. A file's room is the longest key that its path starts with.
ALLOWED = {
    "proto/support/": ("proto/support/",),
    "proto/": ("proto/",),
    "membership/": ("membership/", "proto/"),
    "handlers/": ("handlers/", "proto/"),
    "agent/": ("agent/", "handlers/", "membership/", "proto/"),
    "agent/cli/": ("agent/cli/", "agent/control/client", "agent/control/frame", "agent/config/",
                   "agent/trust/key", "agent/trust/order.h", "agent/trust/statement.h", "proto/"),
    # Keys and the signing of orders, which the CLI and the agent have in common.
    "agent/trust/key": ("agent/trust/key", "proto/"),
    "agent/trust/statement": ("agent/trust/key", "agent/trust/statement.h",
                              "agent/trust/signed_text.h", "proto/"),
    "agent/trust/order.": ("agent/trust/key", "agent/trust/order.h", "agent/trust/signed_text.h",
                           "proto/"),
    # The wire side of the control socket is linked into the CLI.
    "agent/control/client": ("agent/control/client", "agent/control/frame", "agent/control/serf_wire",
                             "agent/control/socket", "proto/"),
    "agent/control/serf_wire": ("agent/control/serf_wire", "agent/control/client_wire",
                                "agent/control/msgpack", "proto/"),
    "agent/control/msgpack": ("agent/control/msgpack", "proto/"),
    "agent/control/frame": ("agent/control/frame", "proto/"),
    "agent/config/": ("agent/config/", "agent/trust/key.h", "membership/", "proto/"),
    "test/": ("proto/", "membership/", "handlers/", "agent/", "test/"),
}

# The pure core is a list of what it may use, not of what it may not: a new library has to argue.
CORE_HEADERS = {
    "algorithm", "array", "bit", "bitset", "cassert", "cctype", "charconv", "chrono", "climits",
    "cmath", "compare", "concepts", "cstddef", "cstdint", "cstdlib", "cstring", "deque", "exception",
    "functional", "initializer_list", "iterator", "limits", "list", "map", "memory", "new",
    "numbers", "numeric", "optional", "queue", "ranges", "ratio", "set", "span", "stack",
    "stdexcept", "string", "string_view", "system_error", "tuple", "type_traits", "unordered_map",
    "unordered_set", "utility", "variant", "vector", "sodium.h", "re2/re2.h", "tl/expected.hpp",
}
CORE_HEADERS_OF_FILE = {
    # inet_pton and inet_ntop only translate text.
    "membership/address.cc": {"arpa/inet.h", "netinet/in.h", "sys/socket.h"},
}
CORE_WORDS = (
    (r"\bco_(await|return|yield)\b", "a coroutine"),
    (r"::now\s*\(|\bunix_milliseconds\b", "a clock"),
    (r"\b(clock_gettime|gettimeofday|time)\s*\(\s*(nullptr|NULL|0|CLOCK_\w+|&)", "a clock"),
    (r"\brandombytes_\w+|\bgetrandom\b|\bstd::rand\b|\brandom_device\b|\bmt19937", "chance"),
    (r"\bgetenv\b", "the environment"),
    (r"\bstd::(thread|jthread|mutex|atomic|async)\b", "a thread"),
    (r"\bthread_local\b", "a thread"),
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)


def room_of(path):
    fitting = [room for room in ALLOWED if path.startswith(room)]
    return max(fitting, key=len) if fitting else None


def check_include(path, room, quoted, angled):
    """Why the include is wrong, or None."""
    target = quoted or angled
    if target.split("/")[0] in LAYERS and "/" in target:
        if not target.startswith(ALLOWED[room]):
            return f"{room} may not include {target}"
    elif quoted:
        return f'write the path of "{target}" from the root of the repository'
    elif room == "membership/":
        if target not in CORE_HEADERS | CORE_HEADERS_OF_FILE.get(path, set()):
            return f"membership/ is pure: <{target}> is not among the headers it may use"
    return None


def check_words(path, text):
    code = tree.code_only(text)
    for pattern, what in CORE_WORDS:
        for match in re.finditer(pattern, code):
            yield tree.Finding(path, tree.line_of(code, match.start()),
                               f"membership/ is pure: {match.group(0).strip()} is {what}")


def check(root):
    findings = []
    for path in tree.list_files(root):
        room = room_of(path)
        if room is None or not path.endswith((".h", ".cc")):
            continue
        text = tree.read_text(root, path) or ""
        # Comments blanked, but not the "..." of the include lines.
        bare = re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group(0)), text,
                      flags=re.S)
        for match in INCLUDE.finditer(bare):
            wrong = check_include(path, room, match.group(1), match.group(2))
            if wrong:
                findings.append(tree.Finding(path, tree.line_of(bare, match.start()), wrong))
        if room == "membership/":
            findings += check_words(path, text)
    return findings


if __name__ == "__main__":
    tree.main(check, __doc__)
