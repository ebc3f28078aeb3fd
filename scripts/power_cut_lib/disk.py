"""A real file system on a disk whose power can be cut."""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from .store import Server, libc

# Size in MiB, and how it is made: no smaller one can be.
KINDS = {
    "ext4": (96, ["mkfs.ext4", "-q", "-F", "-E", "nodiscard"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f", "-K"]),
    "btrfs": (160, ["mkfs.btrfs", "-q", "-f", "-K"]),
}


def usable_kinds():
    """Those that this kernel knows and that can be made here."""
    known = pathlib.Path("/proc/filesystems").read_text().split()
    return [kind for kind, (_, make) in KINDS.items() if kind in known and shutil.which(make[0])]


class Disk:
    """Mounted at `at`."""

    def __init__(self, directory, kind, seed):
        self.kind = kind
        self.at = directory / "disk"
        self.store = directory / "store"
        for path in (self.at, self.store):
            path.mkdir(parents=True)
        self.lost_writes = self.flushes = 0
        self.start_server()
        self.name = self.ask("insert", path=str(self.make(directory)), seed=seed)["name"]
        self.mount()

    def make(self, directory):
        size_mib, make = KINDS[self.kind]
        image = directory / "image"
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        subprocess.run([*make, str(image)], check=True, stdout=subprocess.DEVNULL)
        return image

    def start_server(self):
        from_us, commands = os.pipe()
        answers, to_us = os.pipe()
        self.server = os.fork()
        if self.server == 0:
            # Ends when it is told to, or when nobody can tell it any more: not before the file system on it.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(commands)
            os.close(answers)
            try:
                Server(self.store, from_us, to_us).run()
            except BaseException as error:
                print(f"the disk's server: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os.close(from_us)
        os.close(to_us)
        self.commands, self.answers = os.fdopen(commands, "w"), os.fdopen(answers, "r")
        self.hear()

    def ask(self, what, **arguments):
        print(json.dumps({"do": what, **arguments}), file=self.commands, flush=True)
        return self.hear()

    def hear(self):
        line = self.answers.readline()
        if not line:
            sys.exit("the disk's server has ended")
        return json.loads(line)

    def mount(self):
        subprocess.run(["mount", "-t", self.kind, "-o", "loop", self.store / self.name, self.at], check=True)
        mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
        device = pathlib.Path(next(mount[0] for mount in mounts if mount[1] == str(self.at)))
        cache = pathlib.Path(f"/sys/block/{device.name}/queue/write_cache").read_text().strip()
        if cache != "write back":
            sys.exit(f"{device} has no write cache ({cache}): its flushes do not come through, nothing can be tested")

    def cut(self):
        """The power fails. The dead file system stays mounted until [`revive`]."""
        answer = self.ask("cut")
        self.name = answer["name"]
        self.lost_writes += answer["lost"]
        self.flushes += answer["flushes"]
        return answer["lost"]

    def revive(self):
        """The power comes back: the journal is replayed. Everything that had the dead file system open has ended."""
        subprocess.run(["umount", self.at], check=True)
        self.ask("drop")
        self.mount()

    def sync(self):
        directory = os.open(self.at, os.O_RDONLY)
        if libc.syncfs(directory) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs of {self.at}")
        os.close(directory)

    def end(self):
        subprocess.run(["umount", "--lazy", self.at], check=False)
        self.ask("end")
        os.waitpid(self.server, 0)
        subprocess.run(["umount", "--lazy", self.store], check=False)
