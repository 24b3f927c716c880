# SPDX-License-Identifier: Apache-2.0
"""The command line: Go's ways with flags, one-line errors, JSON."""

import base64
import json
import os

import harness
from harness import BINARY, Case, run, sanitized

COMMANDS = ("agent", "event", "force-leave", "info", "join", "keygen", "leave", "members",
            "monitor", "query", "reachability", "tags", "version")


class WithoutAgent(Case):
    def test_no_agent_is_one_line(self):
        control = os.path.join(self.folder, "none.sock")
        for command in (["members"], ["event", "deploy"], ["query", "load"], ["leave"], ["info"],
                        ["tags", "-set", "a=b"], ["join", "127.0.0.1"], ["reachability"],
                        ["force-leave", "x"], ["monitor"]):
            with self.subTest(command=command):
                done = run(BINARY, command[0], "-control", control, *command[1:], check=False)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stdout, "")
                lines = done.stderr.strip().splitlines()
                self.assertEqual(len(lines), 1, lines)
                self.assertIn(control, lines[0])
                self.assertIn("starling agent", lines[0])

    def test_keygen(self):
        first = run(BINARY, "keygen").stdout
        self.assertEqual(len(base64.b64decode(first.strip(), validate=True)), 32)
        self.assertNotEqual(first, run(BINARY, "keygen").stdout)

    def test_version(self):
        for arguments in (["version"], ["--version"], ["-version"], ["-v"]):
            with self.subTest(arguments=arguments):
                self.assertRegex(run(BINARY, *arguments).stdout, r"(?i)starling v?\d+\.\d+\.\d+")

    def test_help_has_an_example(self):
        everything = run(BINARY, "--help").stdout
        for command in COMMANDS:
            with self.subTest(command=command):
                self.assertIn(command, everything)
                text = run(BINARY, command, "--help").stdout
                self.assertIn(f"starling {command}", text)
                self.assertIn("xample", text)
                self.assertEqual(run(BINARY, command, "-help").stdout, text)

    def test_unknown_things(self):
        for arguments in (["memberz"], ["members", "-formta", "json"], []):
            with self.subTest(arguments=arguments):
                done = run(BINARY, *arguments, check=False)
                self.assertNotEqual(done.returncode, 0)
        done = run(BINARY, "members", "-formta", "json", check=False)
        self.assertIn("format", done.stderr + done.stdout)

    def test_output_to_a_pipe_has_no_colour(self):
        self.assertNotIn("\x1b", run(BINARY, "--help").stdout)


class WithAgent(Case):
    @sanitized
    def test_ways_to_write_a_flag(self):
        alpha, beta = self.cluster("alpha", "beta")
        beta.cli("tags", "--set=role=db")
        harness.wait_for(lambda: alpha.member("beta")["tags"], "alpha sees the tag")
        control = alpha.control
        for flags in (["-control", control, "-name", "beta", "-format", "json"],
                      ["--control", control, "--name", "beta", "--format", "json"],
                      [f"-control={control}", "-name=beta", "-format=json"],
                      [f"--control={control}", "--name=beta", "--format=json"],
                      ["-control", control, "-tag", "role=d.", "-format=json"]):
            with self.subTest(flags=flags):
                found = json.loads(run(BINARY, "members", *flags).stdout)["members"]
                self.assertEqual([member["name"] for member in found], ["beta"])

    def test_control_from_the_environment(self):
        alpha, = self.cluster("alpha")
        environment = dict(os.environ, STARLING_CONTROL=alpha.control)
        self.assertIn("alpha", run(BINARY, "members", env=environment).stdout)

    def test_members_filters(self):
        alpha, _ = self.cluster("alpha", "beta")

        def names(*flags):
            return [member["name"] for member in alpha.json("members", *flags)["members"]]
        self.assertEqual(names("-name", "a.*"), ["alpha"])
        self.assertEqual(names("-name", "lph"), [])  # anchored
        self.assertEqual(names("-status", "alive"), ["alpha", "beta"])
        self.assertEqual(names("-status", "failed"), [])
        bad = alpha.cli("members", "-name", "(", check=False)
        self.assertEqual(bad.returncode, 1)

    def test_members_text_is_aligned(self):
        alpha, *_ = self.cluster("alpha", "b", arguments=["-tag", "role=web"])
        lines = alpha.cli("members").stdout.splitlines()
        columns = {line.index("alive") for line in lines if "alive" in line}
        self.assertEqual(len(columns), 1, lines)
        self.assertNotIn("\x1b", "".join(lines))
        detailed = alpha.cli("members", "-detailed").stdout
        self.assertIn("Protocol Version", detailed)

    def test_info(self):
        alpha, _ = self.cluster("alpha", "beta", arguments=["-event-handler", "user=true"])
        info = alpha.json("info")
        self.assertEqual(info["agent"]["name"], "alpha")
        self.assertEqual(str(info["serf"]["members"]), "2")
        text = alpha.cli("info").stdout
        for section in ("agent", "event_handlers", "runtime", "serf", "tags"):
            self.assertIn(section, text)

    def test_reachability(self):
        alpha, _ = self.cluster("alpha", "beta")
        done = alpha.cli("reachability")
        self.assertIn("Total members: 2, live members: 2", done.stdout)
        self.assertIn("Successfully contacted all live nodes", done.stdout)

    def test_two_agents_on_one_socket(self):
        alpha, = self.cluster("alpha")
        second = self.agent("second")
        second.command[second.command.index("-control") + 1] = alpha.control
        second.launch()
        self.assertEqual(second.wait(), 1)
        self.assertIn(alpha.control, second.log())
        self.assertTrue(alpha.sees(alpha="alive"))

    def test_two_agents_on_one_data_folder(self):
        alpha, = self.cluster("alpha")
        second = self.agent("second")
        second.command[second.command.index("-data-dir") + 1] = alpha.path("data")
        second.launch()
        self.assertEqual(second.wait(), 1)
        self.assertIn(alpha.path("data"), second.log())

    def test_two_agents_on_one_address(self):
        alpha, = self.cluster("alpha")
        second = self.agent("second", address=alpha.address).launch()
        self.assertEqual(second.wait(), 1)
        self.assertIn(alpha.endpoint, second.log())


if __name__ == "__main__":
    harness.main()
