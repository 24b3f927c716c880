# SPDX-License-Identifier: Apache-2.0
"""What Serf's documentation tells people to do, done with our agent under the name `serf`."""

import json
import os
import shutil
import socket
import subprocess
import unittest

import harness
from harness import BINARY, Case, timed, wait_for, write_file

SERF = shutil.which("serf")

# In the form of Serf's documentation: one handler for all events that looks for a program of its
# own for each, and one that shows what it is given.
ROUTER = """#!/bin/sh
case "$SERF_EVENT" in
  user) name="user-$SERF_USER_EVENT" ;;
  query) name="query-$SERF_QUERY_NAME" ;;
  *) name=$SERF_EVENT ;;
esac
program="{folder}/$name"
[ -f "$program" -a -x "$program" ] && exec "$program" || :
"""
SHOW = """#!/bin/bash
echo "event: ${SERF_EVENT}"
while read line; do
    printf "${line}\\n"
done
"""
# A load balancer's: members by their role, the third field.
JOINED = """
if [ "x${SERF_TAG_ROLE}" != "xlb" ]; then
    echo "no balancer"
    exit 0
fi
while read line; do
    role=`echo $line | awk '{print $3}'`
    [ "x$role" = "xweb" ] || continue
    echo $line | awk '{ printf "server %s %s check\\n", $1, $2 }' >> BACKENDS
done
"""
GONE = """
while read line; do
    name=`echo $line | awk '{print $1}'`
    sed -i'' "/ $name /d" BACKENDS
done
"""


class Habits(Case):
    def programs(self):
        return {"both agents": BINARY, **({"Serf": SERF} if SERF else {})}

    def fleet(self, program, *configs):
        """Agents of either kind, called `serf` and told the same."""
        link = os.path.join(self.folder, f"{len(self.started)}", "serf")
        os.makedirs(os.path.dirname(link))
        os.symlink(program, link)
        endpoints = []
        for name, config in configs:
            number = 100 + len(self.started)
            address = f"{self.network}.{number}"
            folder = os.path.join(self.folder, f"agent{number}")
            os.makedirs(folder)
            path = write_file(os.path.join(folder, "serf.json"), json.dumps(config))
            command = [link, "agent", f"-node={name}", f"-bind={address}",
                       f"-rpc-addr={address}:7373", f"-config-file={path}", "-profile=local"]
            if program == BINARY:
                command += ["-data-dir", os.path.join(folder, "data"), "-control",
                            os.path.join(folder, "control.sock")]
            for other in endpoints[:1]:
                command += [f"-retry-join={other}", "-retry-interval=1s"]
            environment = dict(os.environ, **{self.mark_name: self.mark_value})
            with open(os.path.join(folder, "log"), "wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           cwd=folder, env=environment)
            self.started.append(process)
            endpoints.append(address)
        self.link = link
        for address in endpoints:
            wait_for(lambda address=address: self.serf(address, "members").count("alive") == len(
                configs), f"{address} sees all", 30)
        return endpoints

    def serf(self, address, *arguments):
        environment = dict(os.environ, SERF_RPC_ADDR=f"{address}:7373")
        environment.pop("STARLING_CONTROL", None)
        return subprocess.run([self.link, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=60, env=environment).stdout

    def setUp(self):
        super().setUp()
        self.started = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.started:
            process.kill()
            process.wait()

    def read(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    @timed
    def test_router(self):
        answers = []
        for kind, program in self.programs().items():
            folder = os.path.join(self.folder, f"handlers-{kind[:4].strip()}")
            os.makedirs(folder)
            router = self.script(f"router-{kind[:4].strip()}", ROUTER.format(folder=folder))
            write_file(os.path.join(folder, "user-deploy"),
                       f"#!/bin/sh\necho \"$SERF_USER_EVENT $(cat)\" >> '{folder}/deployed'\n", 0o755)
            write_file(os.path.join(folder, "query-uptime"), "#!/bin/sh\necho up\n", 0o755)
            write_file(os.path.join(folder, "member-join"),
                       f"#!/bin/sh\ncat >> '{folder}/joined'\n", 0o755)
            write_file(os.path.join(folder, "user-notes"), "no program\n")
            alpha, _ = self.fleet(program, ("alpha", {"event_handlers": [router]}), ("beta", {}))
            self.serf(alpha, "event", "notes")
            self.serf(alpha, "event", "deploy", "v1")
            name = os.path.basename(folder)
            wait_for(lambda name=name: self.read(f"{name}/deployed") == "deploy v1\n", "it deploys")
            wait_for(lambda name=name: self.read(f"{name}/joined").count("\t") == 6, "both joined")
            answer = self.serf(alpha, "query", "-no-ack", "-timeout=2s", "uptime")
            answers.append([line for line in answer.splitlines() if "alpha" in line])
        self.assertTrue(all(lines == ["Response from 'alpha': up"] for lines in answers), answers)

    def test_documented_configuration_and_handlers(self):
        seen = []
        for kind, program in self.programs().items():
            mark = kind[:4].strip()
            show = self.script(f"handle-{mark}.sh", SHOW)
            deploy = self.script(f"deploy-{mark}.sh", f"#!/bin/sh\ncat > '{self.folder}/{mark}.out'\n")
            # What it starts goes on behind its back, detached as Serf's users are told to.
            fork = self.script(f"fork-{mark}.sh", "#!/bin/bash\nsleep 3 &>/dev/null &\n"
                               f"echo $! > '{self.folder}/{mark}.pid'\necho forked\n")
            config = {"tags": {"role": "load-balancer", "datacenter": "east"},
                      "event_handlers": [f"member-join,user={show}", f"user:deploy={deploy}",
                                         f"query:fork={fork}"]}
            alpha, = self.fleet(program, ("alpha", config))
            self.serf(alpha, "event", "deploy", "v2")
            wait_for(lambda mark=mark: self.read(f"{mark}.out") == "v2\n", "deploy runs")
            answer = self.serf(alpha, "query", "-timeout=5s", "fork")
            self.assertIn("Response from 'alpha': forked", answer)
            child = int(self.read(f"{mark}.pid"))
            wait_for(lambda child=child: not os.path.exists(f"/proc/{child}"), "it ends by itself")
            shown = self.serf(alpha, "members", "-tag", "role=load.*", "-format", "json")
            seen.append(json.loads(shown)["members"][0]["tags"])
        self.assertTrue(all(tags == {"role": "load-balancer", "datacenter": "east"} for tags in seen))

    @timed
    def test_load_balancer(self):
        for kind, program in self.programs().items():
            backends = os.path.join(self.folder, f"backends-{kind[:4].strip()}")
            joined = self.script(f"joined-{kind[:4].strip()}", "#!/bin/sh" + JOINED.replace(
                "BACKENDS", f"'{backends}'"))
            gone = self.script(f"gone-{kind[:4].strip()}", "#!/bin/sh" + GONE.replace(
                "BACKENDS", f"'{backends}'"))
            handlers = [f"member-join={joined}", f"member-leave,member-failed={gone}",
                        "query:load=uptime"]
            addresses = self.fleet(
                program, ("lb", {"tags": {"role": "lb"}, "event_handlers": handlers}),
                ("web1", {"tags": {"role": "web"}}), ("web2", {"tags": {"role": "web"}}))
            name = os.path.basename(backends)
            wanted = [f"server web{number} {address} check"
                      for number, address in enumerate(addresses[1:], 1)]
            wait_for(lambda name=name, wanted=wanted: sorted(self.read(name).splitlines()) == wanted,
                     "both web servers are in")
            self.assertIn("load average", self.serf(addresses[0], "query", "-no-ack", "-timeout=2s",
                                                    "load"))
            self.started[-1].kill()
            self.started[-1].wait()
            wait_for(lambda name=name, wanted=wanted: self.read(name).splitlines() == wanted[:1],
                     "the dead one is out", 30)

    @timed
    def test_statsd(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((f"{self.network}.200", 0))
            server.settimeout(30 * harness.SCALE)
            address = f"{self.network}.200:{server.getsockname()[1]}"
            self.fleet(BINARY, ("alpha", {"statsd_addr": address}))
            lines = server.recv(2048).decode().splitlines()
        self.assertTrue(all(line.startswith("serf-agent.alpha.") for line in lines), lines)
        self.assertTrue(all(line.endswith(("|g", "|c")) for line in lines), lines)

    def test_debians_example(self):
        """Debian's serf.json.example, as it is but for the network card."""
        text = '{\n"interface": "lo"\n, "profile": "wan"\n, "log_level": "warn"\n, "tags": {}\n}'
        path = write_file(os.path.join(self.folder, "serf.json.example"), text)
        done = harness.run(BINARY, "config", "check", path)
        self.assertIn('profile: "wan"', done.stdout)


if __name__ == "__main__":
    harness.main()
