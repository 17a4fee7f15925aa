"""Runs the driver as RBDSR does, with its fixed paths moved below a folder: `launch.py FOLDER REQUEST`. Python 3.6."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import connection, datapath, fencing, locking, relay, settings, tapctl, tapdisk, xapi  # noqa: E402
from shoal_dom0.protocol import main  # noqa: E402

folder = sys.argv.pop(1)
xapi.SOCKET = os.path.join(folder, "xapi")
settings.HOST_FILE = os.path.join(folder, "host.json")
connection.FOLDER = os.path.join(folder, "volumes", "")
relay.SOCKET = os.path.join(folder, "relay")
locking.FOLDER = folder
datapath.BUS = os.path.join(folder, "bus")
datapath.BLOCK = os.path.join(folder, "block")
datapath.DEVICES = os.path.join(folder, "dev")
datapath.LINKS = os.path.join(folder, "links")
if os.path.exists(os.path.join(folder, "uptime")):
    fencing.UPTIME = os.path.join(folder, "uptime")
if os.path.exists(os.path.join(folder, "osrelease")):
    datapath.OS_RELEASE = os.path.join(folder, "osrelease")
tapctl.TAP_CTL = os.path.join(folder, "tap", "tap-ctl")  # a host has tapdisk if a test has put it there
tapdisk.CONTROL = os.path.join(folder, "tap", "run")
tapdisk.BLKTAP_MODULE = os.path.join(folder, "tap", "blktap")
tapdisk.BLKTAP_DEVICES = os.path.join(folder, "tap", "blktap")


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
code = main(sys.argv)
if os.path.exists(os.path.join(folder, "peak_kib")):  # see Host.peak_mib
    with open("/proc/self/status") as status, open(os.path.join(folder, "peak_kib"), "w") as peak:
        peak.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
sys.exit(code)
