# SPDX-License-Identifier: Apache-2.0
"""Jobs: what handlers run as. They outlive the agent, and are never run twice."""

import os
import signal
import subprocess

import harness
from harness import Case, sanitized, takes, wait_for


def supervisors(case):
    """Ids of the supervisors that this test has running, and of the servers that fork them."""
    mark = f"{case.mark_name}={case.mark_value}"
    return [pid for pid in harness.processes_with(mark)
            if "supervise" in harness.command_line(pid)]


class Survival(Case):
    def waiting_job(self):
        """An agent with a job that ends when there is a file `go`."""
        alpha, = self.cluster("alpha", arguments=[
            "-event-handler",
            "user:work=echo begun >> runs; while [ ! -e go ]; do sleep 0.05; done; echo end >> runs"])
        self.addCleanup(lambda: open(alpha.path("go"), "w", encoding="ascii").close())
        alpha.cli("event", "-coalesce=false", "work")
        wait_for(lambda: alpha.read("runs"), "the job runs")
        return alpha

    def let_go(self, alpha):
        open(alpha.path("go"), "w", encoding="ascii").close()

    @sanitized
    def test_a_job_outlives_kill_and_stop_of_the_agent(self):
        alpha = self.waiting_job()
        alpha.kill()
        alpha.start()
        wait_for(lambda: "still runs and is supervised on" in alpha.log(), "it is adopted")
        self.assertTrue(alpha.stop())
        wait_for(lambda: len(supervisors(self)) == 1, "the server is gone, and no supervisor")
        alpha.start()
        self.assertEqual(alpha.read("runs"), "begun\n")
        self.let_go(alpha)
        wait_for(lambda: "job 1: " in alpha.log() and "done after" in alpha.log(),
                 "its end is told")
        self.assertEqual(alpha.read("runs"), "begun\nend\n")

    def test_a_job_that_ends_without_an_agent_is_recorded(self):
        alpha = self.waiting_job()
        alpha.kill()
        self.let_go(alpha)
        wait_for(lambda: not supervisors(self), "it has ended")
        alpha.start()
        self.assertEqual(alpha.read("runs"), "begun\nend\n")

    def test_a_killed_supervisor_leaves_nothing(self):
        alpha = self.waiting_job()
        for pid in supervisors(self):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "its supervisor was killed" in alpha.log(), "the agent says so")

    def test_a_killed_server_costs_no_job(self):
        alpha = self.waiting_job()
        for number in range(3):
            alpha.cli("event", "-coalesce=false", "work", str(number))
        first = harness.server_of(alpha)
        os.kill(first, signal.SIGKILL)
        self.let_go(alpha)
        wait_for(lambda: alpha.read("runs") == 4 * "begun\nend\n", "all run, one after the other")
        self.assertNotIn(harness.server_of(alpha), (first, None))
        self.assertNotIn("supervisor was killed", alpha.log())

    @takes(60)
    def test_a_stuck_server_is_replaced(self):
        alpha, = self.cluster("alpha", arguments=["-event-handler", "user:work=echo run >> runs"])
        alpha.cli("event", "-coalesce=false", "work", "1")
        wait_for(lambda: alpha.read("runs") == "run\n", "the first runs")
        stuck = harness.server_of(alpha)
        os.kill(stuck, signal.SIGSTOP)
        alpha.cli("event", "-coalesce=false", "work", "2")
        wait_for(lambda: alpha.read("runs") == "run\nrun\n", "the second runs after all", 30)
        wait_for(lambda: not os.path.exists(f"/proc/{stuck}"), "the stuck server is gone")

    def test_an_agent_killed_while_its_server_has_a_job(self):
        alpha, = self.cluster("alpha", arguments=["-event-handler", "user:work=echo run >> runs"])
        alpha.cli("event", "-coalesce=false", "work", "1")
        wait_for(lambda: alpha.read("runs") == "run\n", "the first runs")
        server = harness.server_of(alpha)
        os.kill(server, signal.SIGSTOP)
        self.addCleanup(lambda: os.path.exists(f"/proc/{server}") and os.kill(server, signal.SIGKILL))
        alpha.cli("event", "-coalesce=false", "work", "2")
        wait_for(lambda: [job["state"] for job in alpha.json("job", "list")["jobs"]] ==
                 ["running", "succeeded"], "it is started")
        alpha.kill()
        alpha.start()
        os.kill(server, signal.SIGCONT)
        wait_for(lambda: alpha.json("job", "show", "2")["jobs"][0]["state"] == "succeeded",
                 "the job of the earlier agent is taken up")
        self.assertEqual(alpha.read("runs"), "run\nrun\n")
        wait_for(lambda: not os.path.exists(f"/proc/{server}"), "the server is gone")


class Commands(Case):
    def jobs(self, agent, *arguments):
        return agent.json("job", "list", *arguments)["jobs"]

    def job(self, agent, number, *arguments):
        return agent.json("job", "show", str(number), *arguments)["jobs"][0]

    @sanitized
    def test_list_show_logs(self):
        alpha, = self.cluster("alpha", arguments=[
            "-event-handler", "user:good=echo hello; echo world",
            "-event-handler", "user:bad=echo oh no; exit 3"])
        alpha.cli("event", "-coalesce=false", "good")
        alpha.cli("event", "-coalesce=false", "bad")
        wait_for(lambda: {job["state"] for job in self.jobs(alpha)} == {"succeeded", "failed"},
                 "both have ended")
        good, = self.jobs(alpha, "-state", "succeeded")
        bad, = self.jobs(alpha, "-handler", "user:bad")
        self.assertEqual(bad["reason"], "exit status 3")
        self.assertEqual(bad["status"], 3)
        self.assertGreaterEqual(bad["ended_ms"], bad["started_ms"])
        self.assertEqual(alpha.cli("job", "logs", str(good["job"])).stdout, "hello\nworld\n")
        self.assertEqual(alpha.cli("job", "logs", "-f", str(good["job"])).returncode, 0)
        self.assertEqual(alpha.cli("job", "logs", "-f", str(bad["job"]), check=False).returncode, 1)
        self.assertIn("exit status 3", alpha.cli("job", "list").stdout)
        self.assertIn("state = failed", alpha.cli("job", "show", str(bad["job"])).stdout)
        missing = alpha.cli("job", "show", "99", check=False)
        self.assertEqual(missing.returncode, 1)
        self.assertIn("there is no job 99", missing.stderr)

    def test_kill_retry_prune(self):
        alpha, = self.cluster("alpha", arguments=[
            "-event-handler", "user:work=echo run >> runs; [ -e go ] || sleep 1000"])
        alpha.cli("event", "-coalesce=false", "work", "one")
        alpha.cli("event", "-coalesce=false", "work", "two")
        wait_for(lambda: alpha.read("runs") == "run\n", "the first runs")
        wait_for(lambda: [job["state"] for job in self.jobs(alpha)] == ["queued", "running"], "queue")
        second, first = (job["job"] for job in self.jobs(alpha))
        alpha.cli("job", "kill", str(second))
        wait_for(lambda: self.job(alpha, second)["state"] == "killed", "the second is killed")
        alpha.cli("job", "kill", str(first))
        wait_for(lambda: self.job(alpha, first)["state"] == "killed", "the first is killed")
        self.assertEqual(alpha.read("runs"), "run\n")
        self.assertEqual(alpha.cli("job", "kill", str(first), check=False).returncode, 1)
        open(alpha.path("go"), "w", encoding="ascii").close()
        alpha.cli("job", "retry", str(first))
        wait_for(lambda: self.job(alpha, first)["state"] == "succeeded", "it succeeds")
        self.assertEqual(self.job(alpha, first)["attempt"], 2)
        self.assertEqual(alpha.read("runs"), "run\nrun\n")
        self.assertIn("Pruned 1 jobs", alpha.cli("job", "prune", "-keep", "1").stdout)
        self.assertEqual(len(self.jobs(alpha)), 1)

    def test_kill_ends_all_that_came_of_a_command(self):
        alpha, = self.cluster("alpha", arguments=[
            "-event-handler", "user:work=trap '' TERM; sleep 1001 & setsid sleep 1002 & echo up; wait"])
        alpha.cli("event", "-coalesce=false", "work")
        wait_for(lambda: alpha.cli("job", "logs", "1").stdout == "up\n", "it runs")
        alpha.cli("job", "kill", "1")
        # It ignores SIGTERM: this takes the grace.
        wait_for(lambda: self.job(alpha, 1)["state"] == "killed", "it is killed")
        mark = f"{self.mark_name}={self.mark_value}"
        wait_for(lambda: sorted(harness.processes_with(mark)) ==
                 sorted([alpha.process.pid, harness.server_of(alpha)]), "nothing is left")

    @sanitized
    def test_another_host(self):
        alpha, beta = self.cluster("alpha", "beta", arguments=[
            "-event-handler", "user:work=echo run on $SERF_SELF_NAME; [ -e go ] || sleep 1000"])
        alpha.cli("event", "-coalesce=false", "work")
        wait_for(lambda: [job["state"] for job in self.jobs(alpha, "-node", "beta")] == ["running"],
                 "beta's runs")
        number = str(self.jobs(alpha, "-node", "beta")[0]["job"])
        wait_for(lambda: "run on beta" in alpha.cli("job", "logs", "-node", "beta", number).stdout,
                 "its log is read")
        alpha.cli("job", "kill", "-node", "beta", number)
        wait_for(lambda: self.job(alpha, number, "-node", "beta")["state"] == "killed", "it is killed")
        self.assertEqual(self.job(beta, number)["state"], "killed")
        self.assertIn("alpha asks to kill job", beta.log())
        self.assertEqual(self.jobs(alpha)[0]["state"], "running")
        open(alpha.path("go"), "w", encoding="ascii").close()
        alpha.cli("job", "kill", str(self.jobs(alpha)[0]["job"]))
        failed = alpha.cli("job", "list", "-node", "gamma", check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("gamma", failed.stderr)

    def test_following_a_log(self):
        alpha, = self.cluster("alpha", arguments=[
            "-event-handler",
            "user:work=echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 2"])
        alpha.cli("event", "-coalesce=false", "work")
        wait_for(lambda: self.jobs(alpha), "it is there")
        with subprocess.Popen([harness.BINARY, "job", "logs", "-f", "1", "-control", alpha.control],
                              stdout=subprocess.PIPE, text=True, env=alpha.environment) as follower:
            self.assertEqual(follower.stdout.readline(), "one\n")
            open(alpha.path("go"), "w", encoding="ascii").close()
            self.assertEqual(follower.stdout.read(), "two\n")
            self.assertEqual(follower.wait(20), 1)


class Directory(Case):
    def test_a_program_dropped_in_is_a_handler_at_once(self):
        folder = f"{self.folder}/handlers"
        os.makedirs(folder)
        config = harness.write_file(f"{self.folder}/dir.yaml", f"handler_dir: {folder}\n")
        alpha, = self.cluster("alpha", arguments=["-config-file", config])
        self.assertIn("no handler for it", alpha.cli("query", "uptime").stdout)
        uptime = harness.write_file(f"{folder}/query-uptime", "#!/bin/sh\necho up since $(cat)\n")
        self.assertIn("no handler for it", alpha.cli("query", "uptime").stdout)
        os.chmod(uptime, 0o755)
        self.assertIn("Response from 'alpha': up since noon",
                      alpha.cli("query", "uptime", "noon").stdout)
        harness.write_file(f"{folder}/user-deploy", "#!/bin/sh\nread v; echo deploy $v\n", 0o755)
        harness.write_file(f"{folder}/user", "#!/bin/sh\necho any $SERF_USER_EVENT\n", 0o755)
        harness.write_file(f"{folder}/member-join", "#!/bin/sh\ncat\n", 0o755)
        done = alpha.cli("event", "-wait", "deploy", "v1")
        self.assertIn("Jobs: 2 succeeded", done.stdout)
        logs = [alpha.cli("job", "logs", str(job["job"])).stdout
                for job in alpha.json("job", "list", "-handler", "user:deploy")["jobs"]]
        self.assertEqual(sorted(logs), ["any deploy\n", "deploy v1\n"])
        beta = self.agent("beta", join=[alpha.endpoint]).start()
        wait_for(lambda: [job["state"] for job in
                          alpha.json("job", "list", "-handler", "member-join")["jobs"]]
                 == ["succeeded"], "beta's coming is told")
        os.unlink(uptime)
        self.assertIn("no handler for it", beta.cli("query", "uptime").stdout)


@harness.needs_root
class Disk(Case):
    def disk(self, size):
        """A file system of its own for an agent's data; the place."""
        folder = f"{self.folder}/disk"
        os.makedirs(folder)
        # May be refused in a container without the right to mount.
        if harness.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder,
                       check=False).returncode != 0:
            self.skipTest("cannot mount")
        self.addCleanup(harness.run, "umount", "-l", folder, check=False)
        self.addCleanup(self._stop_all)
        return folder

    def victim(self, folder):
        alpha, _ = self.cluster("alpha", "beta")
        victim = self.agent("victim", "-data-dir", folder, "-event-handler", "user:work=cat >> runs",
                            "-event-handler", "query:q=echo yes", join=[alpha.endpoint])
        victim.start()
        wait_for(lambda: alpha.sees(victim="alive"), "it is there")
        return alpha, victim

    def check_waits(self, alpha, victim, says):
        """What is sent while the disk refuses is not lost, and nothing else is harmed."""
        for number in range(30):
            alpha.cli("event", "-coalesce=false", "work", f"n{number}")
        wait_for(lambda: says in victim.log() and "jobs of user events wait" in victim.log(),
                 "it says why", 30)
        self.assertIn("yes", alpha.cli("query", "-node", "victim", "q").stdout)
        self.assertIn("runs without a record", victim.log())
        self.assertTrue(alpha.sees(victim="alive"))
        self.assertEqual(victim.read("runs"), "")

    def check_runs(self, victim):
        wait_for(lambda: sorted(victim.read("runs").split()) ==
                 sorted(f"n{number}" for number in range(30)), "all have run, once", 40)
        self.assertEqual(
            [job["state"] for job in victim.json("job", "list", "-handler", "user:work")["jobs"]],
            ["succeeded"] * 30)
        self.assertNotIn("member-failed", victim.log())

    def test_a_full_disk_postpones_and_loses_nothing(self):
        folder = self.disk("3m")
        alpha, victim = self.victim(folder)
        with open(f"{folder}/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass
        self.check_waits(alpha, victim, "no space is left: free some")
        os.unlink(f"{folder}/filler")
        self.check_runs(victim)

    def test_a_read_only_directory_postpones_and_loses_nothing(self):
        folder = self.disk("30m")
        alpha, victim = self.victim(folder)
        # What is open stays so (nothing can be made read-only that is), but no job gets its file.
        harness.run("mount", "--bind", folder, folder)
        harness.run("mount", "-o", "remount,bind,ro", folder)
        self.check_waits(alpha, victim, "Read-only file system")
        victim.stop()
        refused = subprocess.run(victim.command, env=victim.environment, cwd=victim.folder,
                                 stderr=subprocess.PIPE, text=True, timeout=20, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(folder, refused.stderr)
        self.assertIn("ead-only", refused.stderr)
        harness.run("umount", folder)
        victim.start()
        self.check_runs(victim)


if __name__ == "__main__":
    harness.main()
