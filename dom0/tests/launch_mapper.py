"""Runs the mapper as its units do, with its fixed paths moved below a folder: `launch_mapper.py FOLDER VERB`. Python 3.6."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import datapath, locking, mapper, plug, xapi  # noqa: E402

folder = sys.argv.pop(1)
xapi.SOCKET = os.path.join(folder, "xapi")
locking.FOLDER = folder
datapath.BUS = os.path.join(folder, "bus")
datapath.BLOCK = os.path.join(folder, "block")
datapath.DEVICES = os.path.join(folder, "dev")
mapper.SETTINGS = os.path.join(folder, "maps.json")
mapper.KEY = os.path.join(folder, "maps.key")
mapper.LINKS = os.path.join(folder, "dev", "rbd")
mapper.TIMEOUTS_S.update(boot=2.0, retry=2.0)
plug.INVENTORY = os.path.join(folder, "xensource-inventory")
plug.STARTED = os.path.join(folder, "xapi_init_complete.cookie")


def write_to_kernel(path, data):
    """As a write to sysfs: returns when the kernel has done it, or fails with its error number."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as kernel:
        kernel.connect(os.path.join(folder, "kernel"))
        kernel.sendall(os.path.basename(path).encode() + b"\n" + data)
        kernel.shutdown(socket.SHUT_WR)
        code = int(kernel.recv(16))
    if code:
        raise OSError(code, os.strerror(code))


datapath._write = write_to_kernel
sys.exit(mapper.main(sys.argv))
