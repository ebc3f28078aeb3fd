"""What people do to the directories of all hosts, and what is known of every content that they wrote.

A user here never destroys: what goes from a directory is moved out of it and kept. Only what is appended to is gone as
it was.
"""

import collections
import ctypes
import errno
import hashlib
import os
import struct
import time

from .store import libc

NAMES = 12
DIRECTORIES = 4
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
STATX_INO, STATX_BTIME = 0x100, 0x800

Written = collections.namedtuple("Written", "host path at_s")


class Users:
    """`careful` ones call fsync for what they have written, as good editors do, before they go on."""

    def __init__(self, hosts, chance, careful):
        self.hosts, self.chance, self.careful = hosts, chance, careful
        self.written = {}
        # (host, content): on that host's disk for certain.
        self.durable = set()
        # What was appended to, or what a power cut took from the only disk that had it.
        self.gone = set()
        # Which content a user has last put into a file, for each host.
        self.inodes = collections.defaultdict(dict)

    def act(self):
        host = self.chance.choice(self.hosts)
        what = self.chance.choices([self.save, self.append, self.take_out, self.rename, self.make_directory],
                                   [8, 3, 3, 4, 2])[0]
        try:
            what(host)
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
            pass  # another moment, another tree
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EINVAL, errno.ENOSPC):
                raise

    def save(self, host):
        """As an editor does: beside, then in one step. What was there is kept outside."""
        path, outside = host.root / self.file(), self.fresh_outside(host)
        content = self.content(host)
        with open(outside, "xb") as file:
            self.write(host, outside, file, content)
        try:
            rename(outside, path, RENAME_EXCHANGE)
        except FileNotFoundError:
            rename(outside, path, RENAME_NOREPLACE)
        self.sync_directories(path.parent)

    def append(self, host):
        path = host.root / self.file()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        with open(descriptor, "r+b", buffering=0) as file:
            old = file.read()
            self.gone.add(digest(old))
            line = f"appended {self.chance.getrandbits(64)}\n".encode()
            self.write(host, path, file, line, old)

    def write(self, host, path, file, content, before=b""):
        key = digest(before + content)
        # Known before it is there: the power may fail at any moment.
        self.written[key] = Written(host.name, str(path), time.monotonic())
        file.write(content)
        file.flush()
        self.inodes[host.name][inode(file.fileno())] = key
        if self.careful:
            os.fsync(file.fileno())
            self.sync_directories(path.parent)
            self.durable.add((host.name, key))

    def take_out(self, host):
        source = self.directory() if self.chance.random() < 0.25 else self.file()
        os.rename(host.root / source, self.fresh_outside(host))

    def rename(self, host):
        if self.chance.random() < 0.25:
            rename(host.root / self.directory(), host.root / self.directory(), RENAME_NOREPLACE)
        else:
            rename(host.root / self.file(), host.root / self.file(), RENAME_NOREPLACE)

    def make_directory(self, host):
        os.mkdir(host.root / self.directory())

    def sync_directories(self, *directories):
        for directory in directories if self.careful else ():
            descriptor = os.open(directory, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    # --- What they choose -------------------------------------------------------------------------------

    def directory(self):
        return f"d{self.chance.randrange(DIRECTORIES)}"

    def file(self):
        name = f"f{self.chance.randrange(NAMES)}.txt"
        return f"{self.directory()}/{name}" if self.chance.random() < 0.5 else name

    def fresh_outside(self, host):
        return host.outside / str(self.chance.getrandbits(64))

    def content(self, host):
        title = f"{host.name} {len(self.written)} {self.chance.getrandbits(64)}\n".encode()
        limit = self.chance.choices([1 << 20, 100 << 10, 2000], [1, 2, 17])[0]
        return title + self.chance.randbytes(self.chance.randrange(limit))


def rename(source, target, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


def inode(descriptor):
    """Number and time of birth: tells a file from all that ever had its number. See statx(2)."""
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(descriptor, b"", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, buffer) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    number, = struct.unpack_from("=Q", buffer, 32)
    born_s, born_ns = struct.unpack_from("=qI", buffer, 80)
    return number, born_s, born_ns


def digest(content):
    return hashlib.sha256(content).hexdigest()
