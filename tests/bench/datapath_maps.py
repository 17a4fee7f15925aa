"""Run in dom0 by `python3 -c`: seconds of the driver's vdi_attach and vdi_activate, and of the bare write that maps.

Standard input is JSON: the driver, its requests by command, the bare map's line, how often. Standard output too.
"""

import errno
import json
import os
import pathlib
import subprocess
import sys
import time

BUS = pathlib.Path("/sys/bus/rbd")


def spend(act):
    began = time.monotonic()
    act()
    return time.monotonic() - began


def call(command):
    done = subprocess.run([given["driver"], given["requests"][command]], stdout=subprocess.PIPE, timeout=120)
    assert b"<fault>" not in done.stdout, done.stdout


def numbers():
    return {path.name for path in (BUS / "devices").iterdir()}


def write(attribute, text):
    descriptor = os.open(BUS / attribute, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def remove(number):
    """udev may still have a look at the new device."""
    for _ in range(50):
        try:
            return write("remove_single_major", number)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.1)
    raise TimeoutError(f"{number} stays busy")


given = json.load(sys.stdin)
seen = {"attach_activate": [], "bare_write": [], "start": []}
for _ in range(given["count"]):
    seen["start"].append(spend(lambda: subprocess.run([sys.executable, "-IS", "-c", "pass"], check=True, timeout=60)))
    seen["attach_activate"].append(spend(lambda: (call("vdi_attach"), call("vdi_activate"))))
    call("vdi_deactivate")
    call("vdi_detach")
    before = numbers()
    seen["bare_write"].append(spend(lambda: write("add_single_major", given["line"])))
    for number in numbers() - before:
        remove(number)
print(json.dumps(seen))
