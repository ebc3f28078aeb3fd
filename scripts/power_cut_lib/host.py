"""One host: a network namespace, a disk, and a node on it that takes every power cut for a new boot."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time

from bench_lib.lab import wait_until

from .disk import Disk
from .store import libc

STATE = ".p2pnetwork"
START_BOUND_S = 20
CLONE_NEWTIME = 0x80
PR_SET_PDEATHSIG = 1


class Host:
    def __init__(self, lab, name, directory, kind, seed, binary):
        self.lab, self.name, self.binary = lab, name, binary
        self.disk = Disk(directory, kind, seed)
        self.root = self.disk.at / "sync"
        self.outside = self.disk.at / "outside"
        for path in (self.root, self.outside):
            path.mkdir()
        self.disk.sync()
        self.log = open(directory / "log", "ab")
        self.node = None
        self.arguments = []
        self.booted_at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @property
    def state(self):
        return self.root / STATE

    # --- The node ---------------------------------------------------------------------------------------

    def launch(self, *arguments):
        """Starts the node. It is told the same every time, as by a line in somebody's rc.local."""
        self.arguments = arguments or self.arguments
        command = self.lab.command(self.name, self.binary, "run", self.root, "--name", self.name, "--log", "debug",
                                   *self.arguments)
        self.node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                     preexec_fn=self.enter_own_time)

    def enter_own_time(self):
        """Its machine was booted when the power came back. See time_namespaces(7)."""
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if libc.unshare(CLONE_NEWTIME) != 0:
            raise OSError(ctypes.get_errno(), "unshare of the clocks")
        with open("/proc/self/timens_offsets", "w") as file:
            seconds, nanoseconds = divmod(-self.booted_at_ns, 1_000_000_000)
            file.write(f"boottime {seconds} {nanoseconds}")
        own = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
        if libc.setns(own, CLONE_NEWTIME) != 0:
            raise OSError(ctypes.get_errno(), "setns to the clocks")

    def wait_started(self):
        wait_until(f"{self.name} to start:\n{self.log_tail()}", self.status, START_BOUND_S)

    def status(self):
        """What the node says of itself; `None` while it does not answer."""
        if self.node.poll() is not None:
            sys.exit(f"{self.name} ended by itself with {self.node.returncode}:\n{self.log_tail()}")
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(5)
                control.connect(str(self.state / "control.sock"))
                control.sendall(b"status\n")
                answer = b""
                while part := control.recv(1 << 16):
                    answer += part
                return json.loads(answer)
        except (OSError, ValueError):
            return None

    def invite(self):
        command = [self.binary, "invite", self.root]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def pause(self):
        if self.node:
            self.node.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.node:
            self.node.send_signal(signal.SIGCONT)

    def log_tail(self, lines=30):
        with open(self.log.name, errors="replace") as file:
            return f"--- log of {self.name} ---\n" + "".join(file.readlines()[-lines:])

    # --- Its power --------------------------------------------------------------------------------------

    def cut(self):
        """The node is in the middle of whatever it does; a system call that it is in may still be under way."""
        if self.node:
            self.node.kill()
        lost = self.disk.cut()
        if self.node:
            self.node.wait()
            self.node = None
        return lost

    def revive(self):
        self.booted_at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.disk.revive()

    def end(self):
        if self.node:
            self.node.kill()
            self.node.wait()
            self.node = None
        self.disk.end()
        self.log.close()
