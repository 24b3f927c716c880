# SPDX-License-Identifier: Apache-2.0
"""The unit for systemd, as systemd itself judges it."""

import os
import re
import shutil
import unittest

import harness
from harness import BINARY, ROOT, Case, run, write_file

ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSED = 3.0  # of 10, where 10 is a service without any protection


@unittest.skipUnless(ANALYZE, "needs systemd-analyze (package systemd)")
class Packaging(Case):
    def unit(self, *drop_ins):
        """A copy of the unit that names this build's program."""
        with open(os.path.join(ROOT, "packaging", "starling.service"), encoding="utf-8") as file:
            text = file.read()
        self.assertIn("ExecStart=/usr/bin/starling ", text)
        path = os.path.join(self.folder, "starling.service")
        write_file(path, text.replace("ExecStart=/usr/bin/starling ", f"ExecStart={BINARY} "))
        for name in drop_ins:
            os.makedirs(path + ".d", exist_ok=True)
            shutil.copy(os.path.join(ROOT, "packaging", name), path + ".d")
        return path

    def verify(self, path):
        done = run(ANALYZE, "verify", path, check=False)
        said = [line for line in done.stderr.splitlines() if "starling" in line]
        self.assertEqual(said, [])

    def exposure(self, path):
        text = run(ANALYZE, "security", "--offline=true", "--no-pager", path, check=False).stdout
        found = re.search(r"Overall exposure level for starling\.service: ([0-9.]+)", text)
        if not found:
            self.skipTest("this systemd-analyze does not judge files")
        return float(found.group(1))

    def test_systemd_understands_the_unit(self):
        self.verify(self.unit())

    def test_little_is_exposed(self):
        exposed = self.exposure(self.unit())
        print(f"exposure {exposed} of 10")
        self.assertLess(exposed, MOST_EXPOSED)

    def test_handlers_may_be_given_root(self):
        path = self.unit("starling-root-handlers.conf")
        self.verify(path)


if __name__ == "__main__":
    harness.main()
