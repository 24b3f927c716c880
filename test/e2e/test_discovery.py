# SPDX-License-Identifier: Apache-2.0
"""Agents that find each other by mDNS: each host has an Avahi daemon and a D-Bus of its own."""

import os
import shutil
import subprocess
import unittest

import harness
from harness import BINARY, Case, needs_root, run, takes, wait_for, write_file
from test_netns import Hosts

HELPER = os.path.join(os.path.dirname(BINARY), "starling-discover")
AVAHI = shutil.which("avahi-daemon") or "/usr/sbin/avahi-daemon"

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""

DAEMON = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=no
allow-interfaces=eth0
enable-dbus=yes
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
[rlimits]
"""


class Daemon:
    """avahi-daemon in a namespace, with the folder that it writes to for itself alone."""

    def __init__(self, case, folder, namespace):
        self.case = case
        self.folder = folder
        self.namespace = namespace
        os.makedirs(os.path.join(folder, "run"))
        socket = os.path.join(folder, "bus")
        write_file(os.path.join(folder, "bus.conf"), BUS.format(socket=socket))
        write_file(os.path.join(folder, "avahi.conf"), DAEMON.format(name=os.path.basename(folder)))
        self.environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={socket}")
        self.bus = self._spawn("dbus-daemon", "--nofork", "--nopidfile",
                               f"--config-file={folder}/bus.conf")
        wait_for(lambda: os.path.exists(socket), "the bus listens")
        self.avahi = None

    def _spawn(self, *command):
        log = open(os.path.join(self.folder, "log"), "ab")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env=self.environment, preexec_fn=harness._die_with_parent)
        log.close()

        def end():
            process.terminate()
            process.wait()
        self.case.addCleanup(end)
        return process

    def start(self):
        """A mount namespace gives it a /run/avahi-daemon that no other daemon has."""
        script = ('mkdir -p /run/avahi-daemon && mount --bind "$1" /run/avahi-daemon && '
                  'rm -f /run/avahi-daemon/pid && '
                  f'exec {AVAHI} --file="$2" --no-drop-root --no-chroot --no-rlimits')
        self.avahi = self._spawn("ip", "netns", "exec", self.namespace, "sh", "-c", script, "sh",
                                 os.path.join(self.folder, "run"),
                                 os.path.join(self.folder, "avahi.conf"))
        return self

    def stop(self):
        self.avahi.terminate()
        self.avahi.wait()


@needs_root
@unittest.skipUnless(os.path.exists(HELPER), "built without Avahi's library")
@unittest.skipUnless(os.path.exists(AVAHI) and shutil.which("dbus-daemon"),
                     "no avahi-daemon or dbus-daemon (packages avahi-daemon and dbus)")
class Discovery(Case):
    def setUp(self):
        super().setUp()
        self.key = run(BINARY, "keygen").stdout.strip()

    def hosts(self, count):
        hosts = Hosts(self, count)
        daemons = [Daemon(self, os.path.join(self.folder, f"avahi{number}"),
                          hosts.namespace(number)) for number in range(count)]
        self.addCleanup(self._stop_all)
        return hosts, daemons

    def host_agent(self, hosts, daemons, number, *arguments, discover="web"):
        bus = daemons[number].environment["DBUS_SYSTEM_BUS_ADDRESS"]
        return self.agent(f"host{number}", "-encrypt", self.key, "-discover", discover, *arguments,
                          address=hosts.address(number), namespace=hosts.namespace(number),
                          environment={"DBUS_SYSTEM_BUS_ADDRESS": bus})

    @takes(120)
    def test_agents_of_one_name_find_each_other(self):
        hosts, daemons = self.hosts(4)
        for daemon in daemons:
            daemon.start()
        first, second, third = (self.host_agent(hosts, daemons, number).start()
                                for number in range(3))
        other = self.host_agent(hosts, daemons, 3, discover="db").start()
        self.wait_formed([first, second, third])
        for agent in (first, second, third, other):
            wait_for(lambda agent=agent: "announced by mDNS" in agent.log(), "it is announced")
        self.assertEqual(other.members(), {"host3": "alive"})
        # One that leaves is announced no more, and comes back by itself.
        third.cli("leave")
        third.wait()
        self.wait_seen([first, second], host2="left")
        third.start()
        self.wait_formed([first, second, third])
        # Who was found just before it left may still have been tried.
        for agent in (first, second, third, other):
            self.assertEqual([], [line for line in agent.log().splitlines()
                                  if "cannot join" in line and "10.77.0.3:" not in line])

    @takes(120)
    def test_avahi_comes_late_and_goes_and_comes_back(self):
        hosts, daemons = self.hosts(2)
        first = self.host_agent(hosts, daemons, 0).start()
        wait_for(lambda: "the Avahi daemon does not run" in first.log(), "it says what is missing")
        daemons[0].start()
        wait_for(lambda: "again announced by mDNS" in first.log(), "it is announced")
        daemons[0].stop()
        wait_for(lambda: "connection to Avahi is lost" in first.log(), "it hears of the end")
        for daemon in daemons:
            daemon.start()
        second = self.host_agent(hosts, daemons, 1).start()
        self.wait_formed([first, second], 60)

    @takes(120)
    def test_only_the_address_that_others_are_told_is_announced(self):
        hosts, daemons = self.hosts(2)
        for daemon in daemons:
            daemon.start()
        run("ip", "-n", hosts.namespace(0), "address", "add", "10.77.0.200/24", "dev", "eth0")
        agent = self.host_agent(hosts, daemons, 0, "-bind", "0.0.0.0:7946", "-advertise",
                                "10.77.0.200:7946").start()
        wait_for(lambda: "announced by mDNS" in agent.log(), "it is announced")
        looker = self.host_agent(hosts, daemons, 1, "-mdns-iface", "eth0",
                                 "-mdns-disable-ipv6").start()
        self.wait_formed([agent, looker])
        self.assertEqual(looker.member("host0")["addr"], "10.77.0.200:7946")
        self.assertIn("found 10.77.0.200:7946", looker.log())
        self.assertNotIn("found 10.77.0.1:7946", looker.log())


class WithoutAvahi(Case):
    def test_a_missing_program_is_said_at_the_start(self):
        binary = shutil.copy(BINARY, os.path.join(self.folder, "starling"))
        done = run(binary, "agent", "-discover", "web", "-data-dir",
                   os.path.join(self.folder, "data"), "-bind", f"{self.network}.1:0", "-rpc-addr",
                   "none", "-control", os.path.join(self.folder, "control.sock"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("discover: mDNS needs the program starling-discover, but there is no "
                      f"{self.folder}/starling-discover", done.stderr)


if __name__ == "__main__":
    harness.main()
