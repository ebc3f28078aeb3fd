"""What is measured: one function a row. Each makes a change on the first host and waits until the others have it.

The wait looks at little (a name, a count, some bytes of the file), so that it takes little of the processor; what
has arrived is compared in full afterwards, outside the time that is measured."""

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass

from .lab import wait_until

SMALL_BYTES = 4096


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    saves: int
    files: int
    large_mib: int
    swarm_mib: int
    edited_mib: int
    renamed: int
    deleted: int
    hashed_mib: int
    rest_s: int


FULL = Sizes(saves=200, files=10_000, large_mib=1024, swarm_mib=128, edited_mib=256, renamed=100, deleted=2000,
             hashed_mib=10_240, rest_s=60)
QUICK = Sizes(saves=40, files=1000, large_mib=128, swarm_mib=16, edited_mib=64, renamed=20, deleted=200,
              hashed_mib=256, rest_s=10)


class Bench:
    """One program on some hosts, while its rows are measured."""

    def __init__(self, program, lab, directory, hosts, sizes):
        self.program, self.lab, self.directory, self.sizes = program, lab, directory, sizes
        self.roots = {host: directory / host for host in hosts}
        for root in self.roots.values():
            root.mkdir(parents=True)
        program.start(lab, self.roots)
        self.first, *self.others = self.roots.values()

    def end(self):
        self.program.end()
        shutil.rmtree(self.directory)

    def measured(self, change, arrived):
        """Makes a change, on a disk at rest; how long it took to arrive, and what it cost."""
        os.sync()
        processes = self.program.processes
        for process in processes.values():
            process.reset_peak()
        used = {host: process.processor_s() for host, process in processes.items()}
        sent = self.lab.wire_bytes()
        start = time.monotonic()
        change()
        self.program.synchronise()
        wait_until("the change to arrive", arrived, bound_s=900, pause_s=0.005)
        took_s = time.monotonic() - start
        self.program.settle()
        used = [process.processor_s() - used[host] for host, process in processes.items()]
        sent = {host: now - sent[host] for host, now in self.lab.wire_bytes().items()}
        self.compare()
        return {
            "time_s": took_s,
            "sender_cpu_s": used[0],
            "receiver_cpu_s": max(used[1:]),
            "origin_bytes": sent[next(iter(self.roots))],
            "wire_bytes": sum(sent.values()),
            "peak_bytes": max(process.memory_bytes("VmHWM") for process in processes.values()),
        }

    def compare(self):
        for other in self.others:
            options = [f"--exclude={name}" for name in self.program.own_names]
            told = subprocess.run(["diff", "-rq", "--no-dereference", *options, self.first, other],
                                  capture_output=True, text=True)
            if told.returncode:
                raise SystemExit(f"{self.program.name}: the directories differ:\n{told.stdout}{told.stderr}")

    def make(self, name, count, size):
        """Files beside the directories, on the same file system, 100 a directory."""
        source = self.directory / name
        for number in range(count):
            path = source / str(number // 100) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))
        return source

    def make_file(self, name, mib):
        path = self.directory / name
        with open(path, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        return path

    def count(self, root, name):
        return sum(len(files) for _, _, files in os.walk(root / name))


def save(bench):
    """A small file written, on each host in turn, 0.1 s after the last one has arrived."""
    if not bench.program.watches:
        return None
    delays_ms = []
    for number in range(bench.sizes.saves):
        writer, reader = (bench.first, bench.others[0]) if number % 2 == 0 else (bench.others[0], bench.first)
        time.sleep(0.1)
        delays_ms.append(save_once(writer, reader, f"save-{number % 10}"))
    delays_ms.sort()
    p99 = delays_ms[min(len(delays_ms) - 1, int(len(delays_ms) * 0.99))]
    bench.program.settle()
    return {"median_ms": statistics.median(delays_ms), "p99_ms": p99,
            "peak_bytes": max(process.memory_bytes("VmHWM") for process in bench.program.processes.values())}


def save_once(writer, reader, name):
    """In ms."""
    content = os.urandom(1000)
    start = time.perf_counter()
    (writer / name).write_bytes(content)
    wait_until("the save", lambda: has_content(reader / name, content), pause_s=0.0002)
    return (time.perf_counter() - start) * 1000


def has_content(path, content):
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def small(bench):
    """Many small files, by `cp -r`; the time is from its start."""
    source = bench.make("new", bench.sizes.files, SMALL_BYTES)
    copied_s = 0

    def change():
        nonlocal copied_s
        start = time.monotonic()
        subprocess.run(["cp", "-r", source, bench.first / "small"], check=True)
        copied_s = time.monotonic() - start

    def arrived():
        time.sleep(0.05)
        return bench.count(bench.others[0], "small") == bench.sizes.files

    result = bench.measured(change, arrived)
    shutil.rmtree(source)
    return result | {"cp_s": copied_s}


def rest(bench):
    """Nothing happens, with the files of the row before."""
    time.sleep(5)
    processes = bench.program.processes.values()
    before = [process.processor_s() for process in processes]
    written, sent = sum(process.written_bytes() for process in processes), sum(bench.lab.wire_bytes().values())
    if not bench.program.watches:
        return None
    time.sleep(bench.sizes.rest_s)
    used = max(process.processor_s() - start for process, start in zip(processes, before))
    return {
        "memory_bytes": max(process.memory_bytes() for process in processes),
        "processor_percent": 100 * used / bench.sizes.rest_s,
        "disk_bytes_per_s": (sum(process.written_bytes() for process in processes) - written) / bench.sizes.rest_s,
        "wire_bytes_per_s": (sum(bench.lab.wire_bytes().values()) - sent) / bench.sizes.rest_s / 2,
    }


def large(bench):
    """One large file, whole when it comes into the directory."""
    source = bench.make_file("large.new", bench.sizes.large_mib)
    result = bench.measured(lambda: source.rename(bench.first / "large"), (bench.others[0] / "large").exists)
    (bench.first / "large").unlink()
    bench.program.synchronise()
    wait_until("its end", lambda: not (bench.others[0] / "large").exists())
    bench.program.settle()
    return result


def beside(bench):
    """Small files saved, one after the other, while a large one is on its way: from before it is hashed until it is
    there."""
    if not bench.program.watches:
        return None
    source, delays_ms = bench.make_file("beside.new", bench.sizes.large_mib), []
    os.sync()
    source.rename(bench.first / "beside")
    while not (bench.others[0] / "beside").exists():
        time.sleep(0.1)
        delays_ms.append(save_once(bench.first, bench.others[0], f"note-{len(delays_ms) % 10}"))
    bench.program.settle()
    bench.compare()
    return {"median_ms": statistics.median(delays_ms), "slowest_ms": max(delays_ms)}


def overwrite(bench):
    """4 KiB in the middle of a large file that all have, overwritten in place."""
    path, copy = ensure_edited(bench), bench.others[0] / "edited"
    offset, block = bench.sizes.edited_mib << 19, os.urandom(4096)

    def change():
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(block)

    return bench.measured(change, lambda: read_at(copy, offset, len(block)) == block)


def insert(bench):
    """22 bytes put in front of it, by an editor that saves by renaming."""
    path, copy = ensure_edited(bench), bench.others[0] / "edited"
    line, new = b"twenty-two more bytes\n", bench.directory / "edited.new"
    with open(path, "rb") as old, open(new, "wb") as file:
        file.write(line)
        shutil.copyfileobj(old, file, 1 << 20)
    return bench.measured(lambda: new.rename(path), lambda: read_at(copy, 0, len(line)) == line)


def ensure_edited(bench):
    path = bench.first / "edited"
    if not path.exists():
        bench.make_file("edited.new", bench.sizes.edited_mib).rename(path)
        bench.program.synchronise()
        wait_until("the file to edit", (bench.others[0] / "edited").exists)
        bench.program.settle()
    return path


def read_at(path, offset, length):
    try:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), length, offset)
    except FileNotFoundError:
        return b""


def rename(bench):
    """A directory of files of 1 MiB, renamed."""
    bench.make("album.new", bench.sizes.renamed, 1 << 20).rename(bench.first / "album")
    bench.program.synchronise()
    wait_until("the directory", lambda: bench.count(bench.others[0], "album") == bench.sizes.renamed, pause_s=0.1)
    bench.program.settle()

    def arrived():
        there = bench.count(bench.others[0], "renamed") == bench.sizes.renamed
        return there and not (bench.others[0] / "album").exists()

    return bench.measured(lambda: (bench.first / "album").rename(bench.first / "renamed"), arrived)


def delete(bench):
    """A directory of small files, removed by `rm -r`."""
    bench.make("old.new", bench.sizes.deleted, SMALL_BYTES).rename(bench.first / "old")
    bench.program.synchronise()
    wait_until("the directory", lambda: bench.count(bench.others[0], "old") == bench.sizes.deleted, pause_s=0.1)
    bench.program.settle()
    gone = lambda: not (bench.others[0] / "old").exists()
    return bench.measured(lambda: subprocess.run(["rm", "-r", bench.first / "old"], check=True), gone)


def swarm(bench):
    """One file to seven other hosts; the time is until the last one has it."""
    source = bench.make_file("swarm.new", bench.sizes.swarm_mib)
    arrived = lambda: all((root / "swarm").exists() for root in bench.others)
    return bench.measured(lambda: source.rename(bench.first / "swarm"), arrived)


def hashing(bench):
    """A host of its own hashes a large file; how long it takes to answer `status`, its start included, meanwhile."""
    host = next(iter(bench.roots))
    source, delays_ms = bench.make_file("hashed.new", bench.sizes.hashed_mib), []
    os.sync()
    known, start = bench.program.status(host)["entries"], time.monotonic()
    source.rename(bench.first / "hashed")
    is_known = False
    while not is_known:
        asked = time.perf_counter()
        is_known = bench.program.status(host)["entries"] > known
        delays_ms.append((time.perf_counter() - asked) * 1000)
        time.sleep(0.02)
    return {"time_s": time.monotonic() - start, "slowest_ms": max(delays_ms),
            "turn_ms": bench.program.longest_turn_ms()}


ROWS = {"save": save, "small": small, "rest": rest, "large": large, "beside": beside, "overwrite": overwrite,
        "insert": insert, "rename": rename, "delete": delete, "swarm": swarm, "hash": hashing}
ON_ONE, ON_TWO = ("hash",), tuple(name for name in ROWS if name not in ("hash", "swarm"))


def measure(program, lab, directory, chosen, sizes):
    """{row: its figures} of one program."""
    results = {}
    for hosts, suitable in ((lab.hosts[:2], ON_TWO), (lab.hosts, ("swarm",)), (lab.hosts[:1], ON_ONE)):
        names = [name for name in chosen if name in suitable]
        if not names or names == ["hash"] and not hasattr(program, "status"):
            continue
        bench = Bench(program, lab, directory / f"{program.name}-{len(hosts)}", hosts, sizes)
        try:
            for name in names:
                results[name] = ROWS[name](bench)
            if hasattr(program, "longest_turn_ms"):
                results.setdefault("longest turn", {"ms": 0})
                results["longest turn"]["ms"] = max(results["longest turn"]["ms"], program.longest_turn_ms())
        finally:
            bench.end()
    return results
