# SPDX-License-Identifier: Apache-2.0
"""What systemd is told over NOTIFY_SOCKET, and the unit file."""

import os
import signal
import socket

import harness
from harness import Case, wait_for


class Notify(Case):
    def listen(self, address):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.setblocking(False)
        self.said = []
        return listener

    def hear(self, listener, word):
        def heard():
            while True:
                try:
                    self.said += listener.recv(4096).decode().split("\n")
                except BlockingIOError:
                    return any(line.startswith(word) for line in self.said)
        wait_for(heard, f"{word} on the socket")

    def test_ready_reload_stop(self):
        path = os.path.join(self.folder, "notify")
        listener = self.listen(path)
        alpha = self.agent("alpha", environment={"NOTIFY_SOCKET": path}).launch()
        self.hear(listener, "READY=1")
        self.assertEqual(alpha.cli("members", check=False).returncode, 0)  # ready means ready
        self.said.clear()
        alpha.signal(signal.SIGHUP)
        self.hear(listener, "RELOADING=1")
        self.hear(listener, "MONOTONIC_USEC=")
        self.hear(listener, "READY=1")
        alpha.signal(signal.SIGTERM)
        self.hear(listener, "STOPPING=1")

    def test_abstract_socket(self):
        name = f"starling-e2e-{self.mark_value}"
        listener = self.listen("\0" + name)
        self.agent("alpha", environment={"NOTIFY_SOCKET": "@" + name}).launch()
        self.hear(listener, "READY=1")

    def test_handlers_do_not_inherit_the_socket(self):
        path = os.path.join(self.folder, "notify")
        self.listen(path)
        alpha = self.agent("alpha", "-event-handler", "user=env > heard",
                           environment={"NOTIFY_SOCKET": path}).start()
        alpha.cli("event", "-coalesce=false", "x")
        wait_for(lambda: "SERF_EVENT" in alpha.read("heard"), "the handler ran")
        self.assertNotIn("NOTIFY_SOCKET", alpha.read("heard"))

    def test_nobody_listens(self):
        alpha = self.agent("alpha", environment={
            "NOTIFY_SOCKET": os.path.join(self.folder, "nobody")}).start()
        self.assertTrue(alpha.sees(alpha="alive"))


if __name__ == "__main__":
    harness.main()
