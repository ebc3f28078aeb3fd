"""What must hold of the hosts' directories when the power has come back, and when the nodes have come to rest."""

import os
import stat
import time

from .host import STATE
from .users import digest, inode

# After so long a real disk has what was written to it: ext4 starts to write back after 30 s.
WRITTEN_BACK_S = 60
CONFLICT = ".sync-conflict-"


class Violation(Exception):
    """Something that never happens has happened."""


class Found:
    """A file, symbolic link or directory as a disk holds it."""

    def __init__(self, path):
        found = os.lstat(path)
        self.kind, self.mode, self.size = stat.S_IFMT(found.st_mode), stat.S_IMODE(found.st_mode), found.st_size
        self.modified_ns, self.digest, self.inode, self.head = found.st_mtime_ns, None, None, None
        if self.kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = file.read()
                self.inode = inode(file.fileno())
            self.digest, self.head = digest(content), content[:60]

    def __eq__(self, other):
        same = isinstance(other, Found) and (self.kind, self.mode) == (other.kind, other.mode)
        return same and self.digest == other.digest

    def __repr__(self):
        return f"mode {self.mode:o}, {self.size} bytes of {self.modified_ns} ns, {self.head}"


def tree(host):
    """Everything that is synchronised, by its path below the root."""
    return walk(host.root, host.root)


def everything(host):
    """All files that count as kept on a host."""
    kept = walk(host.disk.at, host.root) | walk(host.disk.at, host.outside)
    trash = host.state / "trash"
    return kept | (walk(host.disk.at, trash) if trash.exists() else {})


def walk(base, top):
    found = {}
    for directory, directories, files in os.walk(top):
        if STATE in directories:
            directories.remove(STATE)
        for name in directories + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, base)] = Found(path)
    return found


class Checks:
    def __init__(self, hosts, users):
        self.hosts, self.users = hosts, users
        self.torn = set()

    def after_cut(self, cut):
        """Looks at all disks before a node that was cut has been started again."""
        kept = {host.name: everything(host) for host in self.hosts}
        for host in self.hosts:
            for path, found in kept[host.name].items():
                if found.digest and not self.is_known(found):
                    self.check_torn(host, path, found, host in cut)
        held = {found.digest for files in kept.values() for found in files.values()}
        for host in cut:
            self.users.durable |= {(host.name, found.digest) for found in kept[host.name].values()}
        names = {host.name for host in cut}
        durable = {key for _, key in self.users.durable}
        for key, written in self.missing(held):
            if written.host not in names or key in durable:
                raise Violation(f"lost in a power cut of {names}: {written}")
            self.users.gone.add(key)
        return kept

    def check_torn(self, host, path, found, was_cut):
        intended = self.users.inodes[host.name].get(found.inode)
        what = f"{host.name}: {path} ({found})"
        if not was_cut:
            raise Violation(f"{what} holds what nobody wrote, and its power was not cut")
        if intended is None:
            raise Violation(f"{what} is torn, and no user of this host wrote it")
        if (host.name, intended) in self.users.durable:
            raise Violation(f"{what} is torn, and its user had synced it")
        if time.monotonic() - self.users.written[intended].at_s > WRITTEN_BACK_S:
            raise Violation(f"{what} is torn, and was written long ago")
        self.torn.add(found.digest)

    def at_rest(self):
        """All nodes are in sync. Returns the tree that all have."""
        trees = [tree(host) for host in self.hosts]
        for other in trees[1:]:
            if trees[0] != other:
                raise Violation(f"in sync, and not the same: {difference(trees[0], other)}")
        for path, found in trees[0].items():
            if found.digest and not self.is_known(found):
                raise Violation(f"nobody ever wrote what is in {path}: {found}")
            if CONFLICT in path and len(self.users.hosts) == 1:
                raise Violation(f"{path}, though only {self.users.hosts[0].name} has users")
        held = {found.digest for host in self.hosts for found in everything(host).values()}
        if missing := self.missing(held):
            raise Violation(f"lost: {missing}")
        for host in self.hosts:
            left = [name for name in os.listdir(host.state / "tmp") if len(name) != 64]
            if left:
                raise Violation(f"{host.name}: temporary files are left: {left}")
        return trees[0]

    def is_known(self, found):
        return found.digest in self.users.written or found.digest in self.torn

    def missing(self, held):
        users = self.users
        return [(key, written) for key, written in users.written.items()
                if key not in held and key not in users.gone]


def restored(before, kept, after, users, cut):
    """The good version of what a power cut has torn on one disk, and another host has, is what all have in the end."""
    for host in cut:
        for path, found in kept[host.name].items():
            name = os.path.relpath(path, "sync")
            intended = users.inodes[host.name].get(found.inode)
            others = [files[name].digest for other, files in before.items() if other != host.name and name in files]
            is_torn = found.digest and found.digest not in users.written
            if is_torn and intended in others and name in after and after[name].digest == found.digest:
                raise Violation(f"{name} is what the power cut of {host.name} left of it, though another host has it: "
                                f"{found}")


def difference(one, other):
    paths = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return [(path, one.get(path), other.get(path)) for path in paths[:20]]
