"""The programs that are measured. Each keeps the directories of some hosts the same, as fast as it can be set to."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

from .lab import Process, wait_until


class Program:
    """What the rows need of a program. `watches`: it notices changes by itself."""

    name = "?"
    watches = True
    own_names = frozenset()

    def start(self, lab, roots):
        """Starts on hosts {name: directory}; returns once all are linked and in sync."""
        self.lab, self.roots = lab, roots
        self.logs = {host: open(f"{root}.log", "wb+") for host, root in roots.items()}
        self.processes = {}
        self.launch()

    def settle(self):
        """Waits until nothing is under way, so that the next row begins at rest."""

    def synchronise(self):
        """Brings the first host's changes to the others, where the program does not by itself."""

    def end(self):
        for process in self.processes.values():
            process.end()

    def launch(self):
        raise NotImplementedError


class P2pnetwork(Program):
    name = "p2pnetwork"
    own_names = frozenset({".p2pnetwork"})

    def __init__(self, binary):
        self.binary = binary

    def launch(self):
        code = None
        for host, root in self.roots.items():
            join = ["--join", code] if code else []
            command = self.lab.command(host, self.binary, "run", root, "--name", host, *join)
            self.processes[host] = Process(command, self.logs[host])
            wait_until(f"{host} to start", lambda: self.status(host) is not None)
            code = code or self.ask(host, "invite").strip()
        wait_until("the nodes to be linked", lambda: all(map(self.is_linked, self.roots)))
        self.settle()

    def settle(self):
        wait_until("the nodes to be in sync", lambda: all(self.status(host)["in_sync"] for host in self.roots))
        time.sleep(1.5)  # until what is known to all has been said, and the index is written

    def is_linked(self, host):
        peers = self.status(host)["peers"]
        return sum(peer["inbound"] and peer["outbound"] for peer in peers) == len(self.roots) - 1

    def status(self, host):
        self.processes[host].check()
        answer = subprocess.run([self.binary, "status", self.roots[host], "--json"], capture_output=True)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def ask(self, host, command):
        return subprocess.run([self.binary, command, self.roots[host]], check=True, capture_output=True,
                              text=True).stdout

    def longest_turn_ms(self):
        return max(self.status(host)["longest_turn_us"] for host in self.roots) / 1000


class Syncthing(Program):
    """Its fastest setting: changes are announced after 1 s, peers have fixed addresses, nothing else is looked for."""

    name = "Syncthing"
    own_names = frozenset({".stfolder"})
    API_KEY = "bench"

    def launch(self):
        homes = {host: f"{root}.home" for host, root in self.roots.items()}
        ids = {host: self.generate(home) for host, home in homes.items()}
        for host, home in homes.items():
            with open(f"{home}/config.xml", "w", encoding="utf-8") as file:
                file.write(self.config(host, ids))
            command = self.lab.command(host, "syncthing", "serve", "--home", home, "--no-browser",
                                       "--no-restart", "--no-upgrade", "--log-max-size=0")
            environment = dict(os.environ, STNOUPGRADE="1", HOME=home)
            self.processes[host] = Process(command, self.logs[host], env=environment)
        wait_until("the devices to be connected", lambda: all(map(self.is_linked, self.roots)), pause_s=0.2)
        self.settle()

    def settle(self):
        wait_until("the folders to be idle", lambda: all(map(self.is_idle, self.roots)), pause_s=0.2)
        time.sleep(3)

    def generate(self, home):
        subprocess.run(["syncthing", "generate", "--home", home, "--no-default-folder", "--skip-port-probing"],
                       check=True, capture_output=True, env=dict(os.environ, HOME=home))
        told = subprocess.run(["syncthing", "serve", "--home", home, "--device-id"], check=True,
                              capture_output=True, text=True, env=dict(os.environ, HOME=home)).stdout
        return re.search(r"(?:[A-Z2-7]{7}-){7}[A-Z2-7]{7}", told).group()

    def config(self, host, ids):
        devices = "".join(
            f'<device id="{device}" name="{name}" compression="metadata">'
            f"<address>tcp://{self.lab.address(name)}:22000</address></device>" for name, device in ids.items())
        members = "".join(f'<device id="{device}"/>' for device in ids.values())
        return f"""<configuration version="36">
            <folder id="bench" label="bench" path="{self.roots[host]}" type="sendreceive"
                rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1">{members}
                <minDiskFree unit="%">0</minDiskFree></folder>{devices}
            <gui enabled="true" tls="false"><address>{self.lab.address(host)}:8384</address>
                <apikey>{self.API_KEY}</apikey></gui>
            <options><listenAddress>tcp://{self.lab.address(host)}:22000</listenAddress>
                <globalAnnounceEnabled>false</globalAnnounceEnabled>
                <localAnnounceEnabled>false</localAnnounceEnabled>
                <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
                <reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser>
                <urAccepted>-1</urAccepted><autoUpgradeIntervalH>0</autoUpgradeIntervalH>
                <crashReportingEnabled>false</crashReportingEnabled></options></configuration>"""

    def get(self, host, path):
        self.processes[host].check()
        url = f"http://{self.lab.address(host)}:8384/rest/{path}"
        try:
            request = urllib.request.Request(url, headers={"X-API-Key": self.API_KEY})
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError):
            return None

    def is_linked(self, host):
        told = self.get(host, "system/connections")
        peers = told["connections"].values() if told else []
        return sum(peer["connected"] for peer in peers) >= len(self.roots) - 1

    def is_idle(self, host):
        told = self.get(host, "db/status?folder=bench")
        return told is not None and told["state"] == "idle" and told["needTotalItems"] == 0


class Rsync(Program):
    """No watch: it is started at the moment of each change, from the first host to a daemon on each other one. So it
    shows what comparing and copying alone cost."""

    name = "rsync"
    watches = False

    def launch(self):
        for host, root in list(self.roots.items())[1:]:
            config = f"{root}.conf"
            with open(config, "w", encoding="utf-8") as file:
                file.write(f"use chroot = no\nuid = 0\ngid = 0\n[bench]\npath = {root}\nread only = no\n")
            command = self.lab.command(host, "rsync", "--daemon", "--no-detach", "--config", config)
            self.processes[host] = Process(command, self.logs[host])
        first = next(iter(self.roots))
        # Something to read the sending side's time and memory from: the shell that the clients are children of.
        self.processes = {first: Client(self.logs[first]), **self.processes}
        wait_until("the daemons", lambda: all(self.run(host) == 0 for host in list(self.roots)[1:]))

    def synchronise(self):
        for host in list(self.roots)[1:]:
            if code := self.run(host):
                raise SystemExit(f"rsync ended with {code}")

    def run(self, host):
        first = next(iter(self.roots))
        # A change within the second of the last one counts, too: times are compared in ns.
        options = ["-a", "--delete", "--modify-window=-1"]
        return self.processes[first].run(self.lab.command(
            first, "rsync", *options, f"{self.roots[first]}/", f"rsync://{self.lab.address(host)}/bench/"))


class Client:
    """Processes that run one after the other, seen as one."""

    def __init__(self, log):
        self.log, self.used_s, self.peak_bytes = log, 0.0, 0

    def run(self, command):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.used_s += usage.ru_utime + usage.ru_stime
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)
        return child.returncode

    def processor_s(self):
        return self.used_s

    def memory_bytes(self, field="VmRSS"):
        return self.peak_bytes if field == "VmHWM" else 0

    def reset_peak(self):
        self.peak_bytes = 0

    def written_bytes(self):
        return 0

    def check(self):
        pass

    def end(self):
        pass
