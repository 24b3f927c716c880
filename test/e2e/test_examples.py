# SPDX-License-Identifier: Apache-2.0
"""The examples in examples/handlers, run as their folders say, with other paths and shorter times."""

import http.server
import json
import os
import subprocess
import threading
import urllib.request

import harness
from harness import Case, takes, wait_for, write_file

EXAMPLES = os.path.join(harness.ROOT, "examples", "handlers")
INSTALLED = "/usr/local/lib/starling"


class Examples(Case):
    def setUp(self):
        super().setUp()
        # The examples call `starling`.
        os.makedirs(f"{self.folder}/bin")
        os.symlink(harness.BINARY, f"{self.folder}/bin/starling")
        self.search_path = f"{self.folder}/bin:{os.environ['PATH']}"

    def config(self, example, name, **changes):
        """The example's configuration with other values for some keys."""
        with open(f"{EXAMPLES}/{example}/starling.yaml", encoding="utf-8") as file:
            text = file.read()
        self.assertIn(INSTALLED, text)
        text = text.replace(INSTALLED, f"{EXAMPLES}/{example}")
        for key, value in changes.items():
            lines = text.split("\n")
            places = [at for at, line in enumerate(lines) if line.strip().startswith(f"{key}: ")]
            self.assertEqual(len(places), 1, key)
            line = lines[places[0]]
            lines[places[0]] = line[:len(line) - len(line.lstrip())] + f"{key}: {value}"
            text = "\n".join(lines)
        return write_file(f"{self.folder}/{name}.yaml", text)

    def member(self, name, config, *arguments, join=()):
        agent = self.agent(name, "-config-file", config, *arguments, join=join)
        agent.environment["PATH"] = self.search_path
        return agent.start()


class Deploy(Examples):
    def hosts(self, names):
        fetch = self.script("fetch", "#!/bin/sh\n[ $1 != v9 ] || exit 3\necho $1 > version\n")
        check = self.script("check", "#!/bin/sh\n! grep -qx v3 version || [ ! -e ../../picky ]\n")
        agents = []
        for name in names:
            config = self.config("deploy", name, DEPLOY_ROOT=f"{self.folder}/{name}/app",
                                 DEPLOY_FETCH=fetch, DEPLOY_CHECK=check)
            agents.append(self.member(name, config, "-tag", "role=web",
                                      join=[agents[0].endpoint] if agents else []))
        self.wait_formed(agents)
        return agents

    def version(self, agent):
        return agent.read("app/current/version").strip()

    @takes(90)
    def test_a_version_is_deployed_everywhere_or_where_it_is_well(self):
        agents = self.hosts(["web1", "web2", "web3"])
        asker = agents[0]
        done = asker.cli("query", "-wait-jobs", "-tag", "role=web", "deploy", "v2.0")
        self.assertIn("Jobs: 3 succeeded", done.stdout)
        self.assertEqual([self.version(agent) for agent in agents], ["v2.0"] * 3)
        write_file(agents[1].path("app/picky"), "")
        done = asker.cli("query", "-wait-jobs", "deploy", "v3", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Jobs: 1 failed, 2 succeeded", done.stdout)
        self.assertEqual([self.version(agent) for agent in agents], ["v3", "v2.0", "v3"])
        number = agents[1].json("job", "list", "-state", "failed")["jobs"][0]["job"]
        log = asker.cli("job", "logs", "-node", "web2", str(number)).stdout
        self.assertIn("going back to releases/v2.0", log)
        # What cannot be fetched, or is no version, changes nothing and leaves nothing.
        for version in ("v9", "../../etc"):
            done = asker.cli("query", "-wait-jobs", "deploy", version, check=False)
            self.assertIn("Jobs: 3 failed", done.stdout)
        self.assertEqual([self.version(agent) for agent in agents], ["v3", "v2.0", "v3"])
        self.assertEqual(sorted(os.listdir(agents[0].path("app/releases"))), ["v2.0", "v3"])


class Converge(Examples):
    @takes(120)
    def test_hosts_converge_each_at_its_own_moment(self):
        wanted = f"{self.folder}/wanted"
        os.makedirs(f"{wanted}/etc")
        write_file(f"{wanted}/etc/motd", "welcome\n", 0o640)
        names = [f"host{number}" for number in range(5)]
        agents = []
        for name in names:
            config = self.config("converge", name, splay="4s", CONVERGE_WANTED=wanted,
                                 CONVERGE_ROOT=f"{self.folder}/{name}/root")
            agents.append(self.member(name, config, join=[agents[0].endpoint] if agents else []))
        self.wait_formed(agents)
        done = agents[0].cli("event", "-wait", "-format", "json", "converge")
        jobs = json.loads(done.stdout)["jobs"]
        self.assertEqual({job["node"]: job["state"] for job in jobs}, dict.fromkeys(names, "succeeded"))
        waits = sorted(job["started_ms"] - job["queued_ms"] for job in jobs)
        self.assertLess(waits[-1], 4000 + 10_000 * harness.SCALE)
        self.assertGreater(waits[-1] - waits[0], 300, "all at once")
        for agent in agents:
            self.assertEqual(agent.read("root/etc/motd"), "welcome\n")
            self.assertEqual(os.stat(agent.path("root/etc/motd")).st_mode & 0o777, 0o640)
        # Again: nothing to do, but where somebody has been at it.
        write_file(agents[2].path("root/etc/motd"), "hacked\n")
        agents[1].cli("event", "-wait", "converge")
        logs = [agent.cli("job", "logs", "2").stdout for agent in agents]
        self.assertEqual([log.split("\n")[-2].split()[0] for log in logs], ["0", "0", "1", "0", "0"])
        self.assertIn("changed etc/motd", logs[2])


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Balancer(Examples):
    PORT = 18080

    def web(self, name, config, balancer):
        agent = self.agent(name, "-config-file", config, "-tag", "role=web", join=[balancer.endpoint])
        server = http.server.ThreadingHTTPServer((agent.address, self.PORT), Page)
        server.name = name
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return agent.start()

    def start_haproxy(self, config):
        process = subprocess.Popen(["haproxy", "-W", "-f", config, "-p", f"{self.folder}/pid"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   preexec_fn=harness._die_with_parent)

        def end():
            process.terminate()
            process.wait()
        self.addCleanup(end)
        wait_for(lambda: os.path.exists(f"{self.folder}/pid"), "haproxy runs")
        return process

    def answering(self, address):
        """Who answers eight requests."""
        names = set()
        for _ in range(8):
            with urllib.request.urlopen(f"http://{address}:{self.PORT}/", timeout=2) as page:
                names.add(page.read().decode())
        return names

    @takes(120)
    def test_haproxy_follows_the_members(self):
        template = f"{self.folder}/template"
        with open(f"{EXAMPLES}/balancer/haproxy.cfg.template", encoding="utf-8") as file:
            text = file.read()
        front = f"{self.network}.1"
        self.assertIn("bind :80\n", text)
        write_file(template, text.replace("bind :80\n", f"bind {front}:{self.PORT}\n"))
        config = write_file(f"{self.folder}/haproxy.cfg",
                            text.replace("bind :80\n", f"bind {front}:{self.PORT}\n"))
        haproxy = self.start_haproxy(config)
        reload = self.script("reload", f"#!/bin/sh\nkill -USR2 {haproxy.pid}\n")
        settings = self.config("balancer", "settings", BALANCER_CONFIG=config,
                               BALANCER_TEMPLATE=template, BALANCER_PORT=f'"{self.PORT}"',
                               BALANCER_RELOAD=reload)
        nothing = write_file(f"{self.folder}/nothing.yaml", "reconnect_interval: 1s\n")
        balancer = self.member("balancer", settings)
        web1 = self.web("web1", nothing, balancer)
        web2 = self.web("web2", nothing, balancer)
        self.wait_formed([balancer, web1, web2])

        def served_by(*names):
            wait_for(lambda: self.answering(front) == set(names), f"{names} serve", 30)
        served_by("web1", "web2")
        web2.kill()
        served_by("web1")
        web2.start()
        served_by("web1", "web2")
        web1.cli("leave")
        served_by("web2")
        self.assertIsNone(haproxy.poll(), "it was reloaded, not started anew")
        for job in balancer.json("job", "list")["jobs"]:
            self.assertEqual(job["state"], "succeeded")
            self.assertEqual(job["handler"], "balancer")
        # One that haproxy would not take does not get there.
        with open(config, encoding="utf-8") as file:
            before = file.read()
        write_file(template, "nonsense\n")
        web2.kill()
        wait_for(lambda: balancer.json("job", "list", "-state", "failed")["jobs"], "it says so", 30)
        with open(config, encoding="utf-8") as file:
            self.assertEqual(file.read(), before)
        served_by("web2")


if __name__ == "__main__":
    harness.main()
