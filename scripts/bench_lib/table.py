"""The table: one line a figure, each program's beside the others', with what p2pnetwork is to reach."""

from dataclasses import dataclass
from typing import Callable

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Line:
    """A figure of a row, in the unit in which it is shown. `target`: what it is to stay under."""

    row: str
    label: str
    unit: str
    value: Callable
    target: float | None = None


def figure(name, scale=1):
    return lambda row: row[name] / scale


def lines(sizes):
    swarm_bytes = sizes.swarm_mib * MIB
    return [
        Line("save", "small save, median", "ms", figure("median_ms"), 4),
        Line("save", "small save, 99th percentile", "ms", figure("p99_ms"), 20),
        Line("small", f"{sizes.files:,} files of 4 KiB, cp -r itself", "s", figure("cp_s")),
        Line("small", f"{sizes.files:,} files of 4 KiB", "s", figure("time_s"), 5),
        Line("small", "  processor, sender", "s", figure("sender_cpu_s"), 2),
        Line("small", "  processor, receiver", "s", figure("receiver_cpu_s"), 3),
        Line("large", f"one file of {sizes.large_mib} MiB", "s", figure("time_s"), 7),
        Line("large", "  processor, sender", "s", figure("sender_cpu_s"), 5),
        Line("large", "  processor, receiver", "s", figure("receiver_cpu_s"), 5),
        Line("beside", "small save while that is under way, median", "ms", figure("median_ms")),
        Line("beside", "  slowest", "ms", figure("slowest_ms"), 100),
        Line("swarm", f"{sizes.swarm_mib} MiB to 7 hosts, sent by its origin", "x size",
             figure("origin_bytes", swarm_bytes), 1.5),
        Line("swarm", f"{sizes.swarm_mib} MiB to 7 hosts", "s", figure("time_s")),
        Line("overwrite", f"4 KiB overwritten in {sizes.edited_mib} MiB, sent", "kB", figure("wire_bytes", 1000), 400),
        Line("overwrite", "  time", "s", figure("time_s")),
        Line("insert", "22 bytes inserted at its front, sent", "kB", figure("wire_bytes", 1000), 700),
        Line("insert", "  time", "s", figure("time_s")),
        Line("rename", f"directory of {sizes.renamed} MiB renamed, sent", "kB", figure("wire_bytes", 1000), 40),
        Line("rename", "  time", "s", figure("time_s"), 0.3),
        Line("delete", f"{sizes.deleted:,} files deleted", "s", figure("time_s"), 1),
        Line("rest", "at rest, resident memory", "MiB", figure("memory_bytes", MIB), 10),
        Line("rest", "at rest, processor", "%", figure("processor_percent"), 0.1),
        Line("rest", "at rest, written to the disk", "B/s", figure("disk_bytes_per_s")),
        Line("rest", "at rest, on the wire, each way", "B/s", figure("wire_bytes_per_s")),
        Line("peak", "peak resident memory, in any row", "MiB", figure("peak_bytes", MIB), 24),
        Line("hash", f"{sizes.hashed_mib:,} MiB hashed", "s", figure("time_s")),
        Line("hash", "  answer to a question meanwhile, slowest", "ms", figure("slowest_ms"), 50),
        Line("hash", "  longest turn of the loop", "ms", figure("turn_ms"), 50),
        Line("longest turn", "longest turn of the loop, in all rows", "ms", figure("ms")),
    ]


def values(results, line):
    """{program: value} of one line, without the programs that have none."""
    found = {}
    for program, rows in results.items():
        row = peak(rows) if line.row == "peak" else rows.get(line.row)
        if row:
            found[program] = line.value(row)
    return found


def peak(rows):
    peaks = [row["peak_bytes"] for row in rows.values() if row and "peak_bytes" in row]
    return {"peak_bytes": max(peaks)} if peaks else None


def render(results, sizes):
    programs = list(results)
    own, peers = programs[0], programs[1:]
    head = ["", *programs, *(["own / best"] if peers else []), "target", ""]
    body = []
    for line in lines(sizes):
        found = values(results, line)
        if own not in found:
            continue
        cells = [line.label, *(show(found.get(program), line.unit) for program in programs)]
        if peers:
            best = min((found[peer] for peer in peers if peer in found), default=None)
            cells.append(f"{found[own] / best:.3f}" if best else "-")
        cells.append("-" if line.target is None else f"< {line.target:g} {line.unit}")
        cells.append("" if line.target is None else "met" if found[own] < line.target else "MISSED")
        body.append(cells)
    widths = [max(len(row[at]) for row in [head, *body]) for at in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(row, widths))).rstrip()
                     for row in [head, *body])


def show(value, unit):
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
