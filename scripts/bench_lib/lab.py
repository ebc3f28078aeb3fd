"""A LAN of network namespaces on one bridge, and what can be read of processes and interfaces in it."""

import os
import pathlib
import subprocess
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Lab:
    """Hosts 10.77.0.1, 10.77.0.2, ... The namespace that this process is in has a leg there, too: 10.77.0.254."""

    def __init__(self, count):
        self.hosts = [f"h{number}" for number in range(1, count + 1)]
        script = """
            mount -t tmpfs bench /run; mkdir -p /run/netns
            ip link set lo up
            ip netns add switch
            ip -n switch link add br0 type bridge
            ip -n switch link set br0 up
            ip link add bench0 type veth peer name bench netns switch
            ip -n switch link set bench master br0 up
            ip address add 10.77.0.254/24 dev bench0
            ip link set bench0 up
        """
        for number, host in enumerate(self.hosts, 1):
            script += f"""
                ip netns add {host}
                ip link add eth0 netns {host} type veth peer name {host} netns switch
                ip -n switch link set {host} master br0 up
                ip -n {host} link set lo up
                ip -n {host} address add 10.77.0.{number}/24 brd + dev eth0
                ip -n {host} link set eth0 up
            """
        subprocess.run(["sh", "-ec", script], check=True)

    def address(self, host):
        return f"10.77.0.{self.hosts.index(host) + 1}"

    def command(self, host, *arguments):
        return ["nsenter", f"--net=/run/netns/{host}", *map(str, arguments)]

    def wire_bytes(self):
        """What each host has sent so far, in bytes, Ethernet's headers included."""
        text = subprocess.run(["ip", "-n", "switch", "-s", "-o", "link"], check=True, capture_output=True,
                              text=True).stdout
        sent = {}
        for line in text.splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            # A host's sending is the receiving of its port of the bridge.
            sent[name] = int(line.split("RX:")[1].split("\\")[1].split()[0])
        return {host: sent[host] for host in self.hosts}


class Process:
    """A long-lived process and the children that it has now."""

    def __init__(self, command, log, **keywords):
        self.log = log
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **keywords)

    def check(self):
        if self.child.poll() is not None:
            self.log.seek(0)
            sys.exit(f"{self.child.args} ended:\n{self.log.read().decode(errors='replace')[-4000:]}")

    def end(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def pids(self):
        found = [self.child.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):  # a child is its thread's
                found += map(int, children.read_text().split())
        return found

    def processor_s(self):
        """User and system time so far, ended children included: fields 14 to 17 of proc(5)'s stat."""
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS_PER_SECOND

    def memory_bytes(self, field="VmRSS"):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1]) * 1024
        return total

    def reset_peak(self):
        for pid in self.pids():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def written_bytes(self):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
                total += int(line.split()[1]) if line.startswith("write_bytes:") else 0
        return total


def wait_until(what, condition, bound_s=300, pause_s=0.01):
    deadline = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited {bound_s} s for {what}")
        time.sleep(pause_s)
