# SPDX-License-Identifier: Apache-2.0
"""examples/quickstart.sh runs as the README says, with the program that is already built."""

import os
import subprocess

import harness
from harness import Case, takes


class Quickstart(Case):
    @takes(120)
    def test_tells_its_story(self):
        environment = dict(os.environ, STARLING_BINARY=harness.BINARY, TMPDIR=self.folder,
                           **{self.mark_name: self.mark_value})
        done = subprocess.run([os.path.join(harness.ROOT, "examples", "quickstart.sh")],
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=100 * harness.SCALE)
        self.assertEqual(done.returncode, 0, done.stdout)
        for word in ("starling join", "starling members", "starling event", "starling query",
                     "starling tags", "starling leave", "member-failed", "failed", "left"):
            self.assertIn(word, done.stdout)
        self.assertEqual(os.listdir(self.folder), [], "files left behind")


if __name__ == "__main__":
    harness.main()
