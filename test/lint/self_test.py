#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lints themselves: each rule finds a violation planted for it, and nothing in a clean tree."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import include_direction
import style

HERE = os.path.dirname(os.path.abspath(__file__))
SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


class Planted(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="starling-lint-")
        self.addCleanup(shutil.rmtree, self.root)

    def plant(self, path, text, license_line=SPDX):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(license_line + text)

    def assert_finds(self, check, path, text, expected, license_line=SPDX):
        self.plant(path, text, license_line)
        findings = [str(finding) for finding in check(self.root)]
        self.assertEqual(len(findings), 1, findings)
        self.assertIn(path, findings[0])
        self.assertIn(expected, findings[0])

    def assert_clean(self, check, path, text):
        self.plant(path, text)
        self.assertEqual([str(finding) for finding in check(self.root)], [])


class IncludeDirection(Planted):
    def finds(self, path, text, expected):
        self.assert_finds(include_direction.check, path, text, expected)

    def clean(self, path, text):
        self.assert_clean(include_direction.check, path, text)

    def test_against_the_direction(self):
        for path, header in (
                ("membership/a.h", "agent/agent.h"), ("membership/a.h", "handlers/spec.h"),
                ("membership/swim/a.cc", "test/catch.h"), ("handlers/a.h", "membership/node.h"),
                ("handlers/a.cc", "agent/agent.h"), ("proto/support/a.h", "membership/node.h"),
                ("proto/support/a.h", "proto/gossip.pb.h"), ("agent/a.cc", "test/catch.h"),
                ("agent/cli/a.cc", "agent/control/service.h"), ("agent/cli/a.cc", "agent/agent.h"),
                ("agent/cli/a.cc", "membership/node.h"), ("agent/cli/a.cc", "agent/net/udp.h"),
                ("agent/control/client.cc", "agent/control/service.h"),
                ("agent/config/a.cc", "handlers/spec.h")):
            with self.subTest(path=path, header=header):
                self.setUp()
                self.finds(path, f'#include "{header}"\n', f"may not include {header}")

    def test_angle_brackets_do_not_hide_it(self):
        self.finds("membership/a.h", "#include <agent/agent.h>\n", "may not include agent/agent.h")

    def test_spaces_do_not_hide_it(self):
        self.finds("membership/a.h", '  #  include "agent/agent.h"\n', "may not include")

    def test_relative_path(self):
        self.finds("agent/net/a.cc", '#include "udp.h"\n', "from the root")
        self.setUp()
        self.finds("agent/net/a.cc", '#include "../agent.h"\n', "from the root")

    def test_core_libraries(self):
        for header in ("asio.hpp", "spdlog/spdlog.h", "sqlite3.h", "yaml-cpp/yaml.h", "thread",
                       "mutex", "atomic", "random", "fstream", "iostream", "sys/socket.h",
                       "arpa/inet.h", "unistd.h", "ctime", "filesystem", "future"):
            with self.subTest(header=header):
                self.setUp()
                self.finds("membership/gossip/a.h", f"#include <{header}>\n", "is pure")

    def test_core_words(self):
        for line in ("auto t = std::chrono::steady_clock::now();", "auto t = Clock::now();", "auto t = unix_milliseconds();",
                     "co_await f();", "randombytes_buf(p, 8);", "auto t = time(nullptr);",
                     'getenv("HOME");', "std::atomic<int> a;", "thread_local int a;"):
            with self.subTest(line=line):
                self.setUp()
                self.finds("membership/a.cc", line + "\n", "is pure")

    def test_allowed(self):
        self.clean("membership/address.cc", "#include <arpa/inet.h>\n")
        self.clean("membership/swim/a.cc", '#include <sodium.h>\n#include <vector>\n'
                   '#include "membership/node.h"\n#include "proto/gossip.pb.h"\n'
                   "// steady_clock::now() is the caller's\nadvance(context_.now());\n")
        self.clean("handlers/a.cc", '#include "proto/support/result.h"\n#include <asio.hpp>\n')
        self.clean("agent/a.cc", '#include "handlers/a.h"\n#include "membership/node.h"\n')
        self.clean("agent/cli/a.cc", '#include "agent/control/client.h"\n'
                   '#include "agent/config/paths.h"\n#include "proto/control.pb.h"\n')
        self.clean("test/unit/a.cc", '#include "membership/node.h"\n#include "agent/a.h"\n')
        self.clean("membership/b.cc", '/*\n#include "agent/a.h"\n*/\n// #include "agent/a.h"\n')


class Style(Planted):
    def finds(self, path, text, expected, license_line=SPDX):
        self.assert_finds(style.check, path, text, expected, license_line)

    def test_license(self):
        self.finds("agent/a.cc", "int a;\n", "SPDX", license_line="")
        self.setUp()
        self.finds(".ci/run", "#!/bin/sh\n", "SPDX", license_line="")

    def test_trailing_blank(self):
        self.finds("agent/a.cc", "int a; \n", "agent/a.cc:2: blank at the end")
        self.setUp()
        self.finds("docs/a.md", "text\t\n", "blank at the end")

    def test_no_last_newline(self):
        self.finds("agent/a.cc", "int a;", "no newline")

    def test_marks(self):
        for mark in ("TO" "DO", "FIX" "ME", "HA" "CK"):
            with self.subTest(mark=mark):
                self.setUp()
                self.finds("agent/a.cc", f"// {mark}: later\n", "open an issue")

    def test_private_paths(self):
        self.finds("docs/a.md", "see /wo" "rk/shared\n", "path of one machine")

    def test_length(self):
        self.finds("agent/a.cc", "int a;\n" * 800, "801 lines")
        self.setUp()
        self.finds("test/unit/a.cc", "int a;\n" * 1200, "1201 lines")
        self.setUp()
        self.assert_clean(style.check, "test/unit/a.cc", "int a;\n" * 1000)

    def test_pragma_once(self):
        self.finds("agent/a.h", "int a;\n", "#pragma once")

    def test_dead_link(self):
        self.finds("docs/a.md", "[b](b.md#part)\n", "docs/a.md:2: a link to b.md")
        self.setUp()
        self.plant("docs/b.md", "")
        self.assert_clean(style.check, "docs/a.md",
                          "[b](b.md#part) [up](../docs/b.md) [web](https://example.org/x)\n")

    def test_binding_on_await(self):
        self.finds("agent/a.cc", "auto [a, b] = co_await f();\n", "structured binding")
        self.setUp()
        self.finds("agent/a.cc", "const auto& [a,\n  b] =\n    f(co_await g());\n",
                   "structured binding")

    def test_await_outside_its_rooms(self):
        self.finds("handlers/dispatcher.cc", "co_await f();\n", "belongs to agent/")
        self.setUp()
        self.finds("proto/support/a.cc", "co_await f();\n", "belongs to agent/")

    def test_clean(self):
        self.assert_clean(style.check, "agent/a.cc",
                          "// co_await\nauto [a, b] = f();\nco_await g(a);\nint n = 1'000'000;\n"
                          "const char* s = \"auto [a, b] = co_await f();\";\n")
        self.assert_clean(style.check, "handlers/process.cc", "co_await f();\n")


class Tools(Planted):
    def run_lint(self, *arguments):
        return subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)

    def test_format(self):
        for name in (".clang-format", ".clang-tidy"):
            shutil.copy(os.path.join(HERE, "..", "..", name), self.root)
        tool = os.path.join(HERE, "tools.py")
        self.plant("agent/a.cc", "int a;\n")
        self.assertEqual(self.run_lint(tool, "format", self.root).returncode, 0)
        self.plant("agent/b.cc", "int   a ;\n")
        self.assertEqual(self.run_lint(tool, "format", self.root).returncode, 1)

    def test_shell(self):
        tool = os.path.join(HERE, "tools.py")
        self.plant("a.sh", 'echo "$1"\n', "#!/bin/sh\n")
        self.assertEqual(self.run_lint(tool, "shell", self.root).returncode, 0)
        self.plant(".ci/run", "#!/usr/bin/env bash\nrm $1\n", "")
        self.assertEqual(self.run_lint(tool, "shell", self.root).returncode, 1)

    def tidy(self):
        return self.run_lint(os.path.join(HERE, "tidy.py"), "--root", self.root, "--build",
                             os.path.join(self.root, "build"))

    def test_tidy(self):
        shutil.copy(os.path.join(HERE, "..", "..", ".clang-tidy"), self.root)
        self.plant("agent/a.h", "#pragma once\ninline int twice(int a) { return a + a; }\n")
        self.plant("agent/a.cc", '#include "agent/a.h"\nint use() { return twice(2); }\n')
        os.makedirs(os.path.join(self.root, "build"))
        root = os.path.realpath(self.root)
        with open(os.path.join(root, "build", "compile_commands.json"), "w",
                  encoding="utf-8") as file:
            json.dump([{"directory": root, "file": "agent/a.cc",
                        "command": f"clang++-19 -std=c++20 -I{root} -c agent/a.cc"}], file)
        first = self.tidy()
        self.assertEqual(first.returncode, 0, first.stdout)
        self.assertIn(b"1 checked", first.stdout)
        self.assertIn(b"0 checked", self.tidy().stdout)  # from the cache
        # A header's change is a change of the file, and its defect is found.
        self.plant("agent/a.h", "#pragma once\n"
                   "inline int twice(int a) { int b; b = a; return a + b; }\n")
        second = self.tidy()
        self.assertEqual(second.returncode, 1, second.stdout)
        self.assertIn(b"cppcoreguidelines-init-variables", second.stdout)
        self.assertEqual(self.tidy().returncode, 1)  # a failure is not cached


if __name__ == "__main__":
    unittest.main(verbosity=2)
