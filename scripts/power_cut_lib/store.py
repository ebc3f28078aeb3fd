"""A disk with a volatile write cache whose power can be cut at any moment.

It is a FUSE file system with one file, which is the backing store of a loop device: every write and every flush that a
real file system sends to its disk comes by here, in order. Spoken is the kernel's protocol itself (linux/fuse.h), so
nothing needs to be installed. One process, one thread; commands come through a pipe, one JSON object a line.

A power cut leaves what was written up to the last flush that had ended, and of the writes since then any subset, one of
them perhaps torn between two sectors. The disk as it was goes on working, so that the dead file system on it can be
unmounted; what is written to it from then on is lost.
"""

import ctypes
import errno
import json
import os
import random
import select
import stat
import struct
import time

SECTOR_BYTES = 512
MAX_WRITE_BYTES = 1 << 20
# As an SD card takes its time: wide windows in which a flush has been asked for and is not done.
FLUSH_MAX_S = 0.006

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 20, 25, 26, 27, 29, 34, 36, 38, 42
NO_REPLY = {FORGET, BATCH_FORGET, INTERRUPT}
ASYNC_READ, BIG_WRITES, MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
ROOT = 1

libc = ctypes.CDLL(None, use_errno=True)


class Image:
    """One life of the disk: from a power cut, or the first start, to the next power cut."""

    def __init__(self, content):
        self.durable = content
        self.live = bytearray(content)
        self.cached = []
        self.is_dead = False
        self.flushes = 0

    def write(self, offset, data):
        self.live[offset:offset + len(data)] = data
        if not self.is_dead:
            self.cached.append((offset, data))

    def flush(self):
        self.keep(self.cached)
        self.cached = []
        self.flushes += 1

    def cut(self, chance):
        """What the disk holds when the power comes back, and how many of the cached writes are lost."""
        share = chance.choice([0, 0.1, 0.5, 0.9, 1])
        kept = [write for write in self.cached if chance.random() < share]
        lost = len(self.cached) - len(kept)
        if kept and chance.random() < 0.5:
            torn = chance.randrange(len(kept))
            offset, data = kept[torn]
            kept[torn] = offset, data[:chance.randrange(0, len(data), SECTOR_BYTES)]
        self.keep(kept)
        self.is_dead, self.cached = True, []
        content, self.durable = self.durable, None
        return Image(content), lost

    def keep(self, writes):
        if not self.is_dead:
            for offset, data in writes:
                self.durable[offset:offset + len(data)] = data


class Server:
    def __init__(self, mountpoint, commands, replies):
        self.mountpoint = mountpoint
        self.commands, self.replies = os.fdopen(commands, "r"), os.fdopen(replies, "w")
        self.images = {}
        self.chance = random.Random(0)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0"
        if libc.mount(b"power-cut", os.fsencode(mountpoint), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount of a FUSE file system")

    def run(self):
        self.reply(ready=True)
        while True:
            ready, _, _ = select.select([self.device, self.commands], [], [])
            if self.commands in ready:
                self.handle_command()
            else:
                self.handle_request(os.read(self.device, MAX_WRITE_BYTES + 4096))

    # --- What the test asks for -------------------------------------------------------------------------

    def handle_command(self):
        line = self.commands.readline()
        if not line:
            os._exit(0)
        command = json.loads(line)
        getattr(self, command.pop("do"))(**command)

    def reply(self, **values):
        print(json.dumps(values), file=self.replies, flush=True)

    def insert(self, path, seed):
        self.chance = random.Random(seed)
        with open(path, "rb") as file:
            self.images = {2: Image(bytearray(file.read()))}
        self.reply(name="disk-2")

    def cut(self):
        node = max(self.images)
        image, lost = self.images[node].cut(self.chance)
        flushes = self.images[node].flushes
        self.images[node + 1] = image
        self.reply(name=f"disk-{node + 1}", lost=lost, flushes=flushes)

    def drop(self):
        """All but the present disk: nothing is mounted from them any more."""
        node = max(self.images)
        self.images = {node: self.images[node]}
        self.reply(dropped=True)

    def end(self):
        self.reply(ended=True)
        os._exit(0)

    # --- What the kernel asks for -----------------------------------------------------------------------

    def handle_request(self, request):
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        try:
            answer = self.answer(opcode, node, memoryview(request)[40:])
        except OSError as error:
            self.send(unique, -error.errno, b"")
            return
        if opcode not in NO_REPLY:
            self.send(unique, 0, answer)

    def send(self, unique, error, answer):
        try:
            os.write(self.device, struct.pack("=IiQ", 16 + len(answer), error, unique) + answer)
        except FileNotFoundError:
            pass  # nobody waits for it any more

    def answer(self, opcode, node, body):
        if opcode == INIT:
            flags = ASYNC_READ | BIG_WRITES | MAX_PAGES
            pages = MAX_WRITE_BYTES // os.sysconf("SC_PAGESIZE")
            return struct.pack("=IIIIHHIIHH8I", 7, 31, MAX_WRITE_BYTES, flags, 16, 12, MAX_WRITE_BYTES, 1, pages, 0,
                               *[0] * 8)
        if opcode == READ:
            offset, size = struct.unpack_from("=8xQI", body)
            return bytes(self.images[node].live[offset:offset + size])
        if opcode == WRITE:
            offset, size = struct.unpack_from("=8xQI", body)
            self.images[node].write(offset, bytes(body[40:40 + size]))
            return struct.pack("=II", size, 0)
        if opcode == FSYNC:
            return self.flush(node)
        if opcode == LOOKUP:
            return self.look_up(bytes(body).rstrip(b"\0").decode())
        if opcode in (GETATTR, SETATTR):
            return struct.pack("=QII", 3600, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("=QII", 0, 0, 0)
        if opcode == STATFS:
            return struct.pack("=5Q10I", *[0] * 5, 4096, 255, 4096, *[0] * 7)
        if opcode in NO_REPLY or opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "")

    def flush(self, node):
        """The power may be cut while it is under way: then it has never been."""
        deadline = time.monotonic() + self.chance.uniform(0, FLUSH_MAX_S)
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.commands], [], [], left)[0]:
                self.handle_command()
        if node in self.images:
            self.images[node].flush()
        return b""

    def look_up(self, name):
        node = int(name.removeprefix("disk-")) if name.startswith("disk-") else 0
        if node not in self.images:
            raise FileNotFoundError(errno.ENOENT, name)
        return struct.pack("=QQQQII", node, 0, 3600, 3600, 0, 0) + self.attributes(node)

    def attributes(self, node):
        size = len(self.images[node].live) if node != ROOT else 0
        mode = stat.S_IFDIR | 0o700 if node == ROOT else stat.S_IFREG | 0o600
        return struct.pack("=6Q10I", node, size, size // SECTOR_BYTES, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
