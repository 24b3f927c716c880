# SPDX-License-Identifier: Apache-2.0
"""Configuration that is wrong names the place and the remedy; what is right takes effect."""

import os

import harness
from harness import BINARY, Case, run, write_file


class Refused(Case):
    def refuse(self, *arguments):
        """The one line that an agent says before it ends with 1."""
        done = run(BINARY, "agent", "-node", "x", "-bind", f"{self.network}.1:7946", "-data-dir",
                   os.path.join(self.folder, "data"), "-control",
                   os.path.join(self.folder, "control.sock"), *arguments, check=False)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def refuse_file(self, text, name="agent.yaml"):
        path = write_file(os.path.join(self.folder, name), text)
        return path, self.refuse("-config-file", path)

    def test_unknown_key(self):
        path, said = self.refuse_file("node_name: x\ntags:\n  a: b\nretry_jion: [a]\n")
        self.assertIn(f"{path}:4:1", said)
        self.assertIn("retry_join", said)

    def test_unknown_key_of_a_handler(self):
        path, said = self.refuse_file(
            "event_handlers:\n  - filter: user\n    comand: 'true'\n")
        self.assertIn(f"{path}:3:5", said)
        self.assertIn("command", said)

    def test_bad_value(self):
        path, said = self.refuse_file("log_level: INFO\nretry_interval: soon\n")
        self.assertIn(f"{path}:2:17", said)
        self.assertIn("retry_interval", said)

    def test_bad_yaml(self):
        path, said = self.refuse_file("tags: {a: b\nlog_level: INFO\n")
        self.assertIn(f"{path}:", said)

    def test_bad_handler_filter(self):
        path, said = self.refuse_file("event_handlers:\n  - member-jion=true\n")
        self.assertIn(f"{path}:2:5", said)
        self.assertIn("member-jion", said)

    def test_missing_file(self):
        path = os.path.join(self.folder, "none.yaml")
        self.assertIn(path, self.refuse("-config-file", path))

    def test_open_network_without_a_key(self):
        said = self.refuse("-bind", "0.0.0.0:7946")
        self.assertIn("insecure", said)
        self.assertIn("encrypt", said)

    def test_bad_key(self):
        said = self.refuse("-encrypt", "c2hvcnQ=")
        self.assertIn("32", said)

    def test_unknown_flag(self):
        done = run(BINARY, "agent", "-retry-jion", "a", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("did you mean -retry-join?", done.stderr.splitlines()[0])


class Accepted(Case):
    def test_file_then_flags(self):
        path = write_file(os.path.join(self.folder, "agent.yaml"),
                          "node_name: from-file\ntags: {a: one, b: two}\n")
        alpha = self.agent("alpha", "-config-file", path, "-tag", "b=flag").start()
        member = alpha.member("alpha")  # -node wins
        self.assertEqual(member["tags"], {"a": "one", "b": "flag"})

    def test_folder_in_order(self):
        folder = os.path.join(self.folder, "conf.d")
        os.makedirs(folder)
        write_file(os.path.join(folder, "20-b.yaml"), "tags: {a: later}\n")
        write_file(os.path.join(folder, "10-a.yaml"), "tags: {a: earlier, b: kept}\n")
        write_file(os.path.join(folder, "30-c.json"), '{"tags": {"c": "json"}}\n')
        write_file(os.path.join(folder, "notes.txt"), "not: [read\n")
        alpha = self.agent("alpha", "-config-dir", folder).start()
        self.assertEqual(alpha.member("alpha")["tags"], {"a": "later", "b": "kept", "c": "json"})

    def test_insecure_is_said_and_obeyed(self):
        alpha = self.agent("alpha", "-insecure", address=self.network + ".7")
        at = alpha.command.index("-bind")
        alpha.command[at + 1] = "0.0.0.0:0"
        alpha.command += ["-advertise", f"{self.network}.7"]
        alpha.start()
        self.assertIn("insecure", alpha.log().lower())

    def test_log_file(self):
        path = os.path.join(self.folder, "agent.log")
        alpha = self.agent("alpha", "-log-file", path).start()
        harness.wait_for(lambda: os.path.getsize(path) > 0, "the log file has lines")
        self.assertTrue(alpha.log())

    def test_ipv6(self):
        alpha = self.agent("alpha")
        alpha.command[alpha.command.index("-bind") + 1] = "[::1]:0"
        alpha.start()
        beta = self.agent("beta")
        beta.command[beta.command.index("-bind") + 1] = "[::1]:0"
        beta.start()
        address = alpha.member("alpha")["addr"]
        self.assertTrue(address.startswith("[::1]:"), address)
        beta.cli("join", address)
        self.wait_formed([alpha, beta])


if __name__ == "__main__":
    harness.main()
