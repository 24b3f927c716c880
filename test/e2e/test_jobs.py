# SPDX-License-Identifier: Apache-2.0
"""Jobs: what handlers run as. They outlive the agent, and are never run twice."""

import os
import signal

import harness
from harness import Case, sanitized, wait_for


def supervisors(case):
    """Ids of the supervisors that this test has running."""
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
        self.assertEqual(len(supervisors(self)), 1)
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


if __name__ == "__main__":
    harness.main()
