"""What the machine itself needs for the large file: no program that copies, hashes or sends it can be faster."""

import hashlib
import os
import shutil
import subprocess
import sys
import time

RECEIVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 9000))
print("ready", flush=True)
connection, _ = listener.accept()
buffer, total = bytearray(1 << 20), 0
while count := connection.recv_into(buffer):
    total += count
print(total, flush=True)
"""


def measure(lab, directory, mib):
    """{what: seconds}, for a file of `mib` MiB that is in the page cache."""
    source, copy = directory / "floor", directory / "floor.copy"
    with open(source, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    os.sync()
    results = {"size_mib": mib, "copied and synced": timed(lambda: copy_and_sync(source, copy)),
               "SHA-256": timed(lambda: digest(source)), "a plain socket": send(lab, source)}
    source.unlink()
    copy.unlink()
    return results


def render(floor):
    texts = [f"{what} {seconds:.2f} s" for what, seconds in floor.items() if what != "size_mib"]
    return f"floors, for {floor['size_mib']} MiB: " + ", ".join(texts)


def timed(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def copy_and_sync(source, copy):
    shutil.copyfile(source, copy)
    with open(copy, "rb") as file:
        os.fsync(file.fileno())


def digest(source):
    with open(source, "rb") as file:
        hashlib.file_digest(file, "sha256")


def send(lab, source):
    """From the second host's namespace to the first's."""
    address = lab.address(lab.hosts[0])
    receiver = subprocess.Popen(lab.command(lab.hosts[0], sys.executable, "-c", RECEIVE, address),
                                stdout=subprocess.PIPE, text=True)
    receiver.stdout.readline()
    program = "import socket, sys; socket.create_connection((sys.argv[1], 9000)).sendfile(open(sys.argv[2], 'rb'))"
    start = time.monotonic()
    subprocess.run(lab.command(lab.hosts[1], sys.executable, "-c", program, address, source), check=True)
    receiver.stdout.readline()
    took_s = time.monotonic() - start
    receiver.wait()
    return took_s
