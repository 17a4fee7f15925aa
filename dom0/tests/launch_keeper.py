"""Runs the keeper with its fixed paths moved below a folder, and its pauses shortened: `launch_keeper.py FOLDER`."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import connection, datapath, settings, xapi  # noqa: E402
from shoal_keeper import __main__ as program  # noqa: E402
from shoal_keeper import act, decide, domains, failover, failover_presence, failover_roster  # noqa: E402
from shoal_keeper import alerts, ceph_troubles, failover_alive, failover_ceph, failover_leftover, failover_past, failover_succession, failover_watch  # noqa: E402
from shoal_keeper import containers, loop, memory, noout, observe, services, toolstack, usage  # noqa: E402

folder = sys.argv.pop(1)
xapi.SOCKET = os.path.join(folder, "xapi")
settings.HOST_FILE = os.path.join(folder, "host.json")
services.FOLDER = os.path.join(folder, "volumes", "")
observe.INVENTORY = os.path.join(folder, "inventory")
memory.FILE = os.path.join(folder, "var", "keeper.json")

failover_roster.FILE = os.path.join(folder, "var", "failover.json")
domains.RBD_DEVICES = os.path.join(folder, "rbd")
os.environ["PATH"] = os.path.join(folder, "bin") + ":" + os.environ["PATH"]
# All hosts are at loopback addresses, and this file names those that are silent.
failover_succession.ROLE_FILE = os.path.join(folder, "pool.conf")
failover_presence.answers = lambda address: address not in read("silent").split()

failover.SUSPECT_S, failover.ISOLATED_S = 0.5, 1.0
failover_watch.WATCH_S, failover_watch.HURRY_S, failover_watch.ROSTER_HURRY_S = 0.3, 0.1, 0.5
failover_leftover.LEFT_S = 0.5
failover_ceph.SILENT_S = 1.0
failover_watch.STRAY_S, failover_watch.IDLE_S = 0.3, 1.0
failover_watch.DOUBT_S, failover_watch.DOUBT_AGAIN_S, failover_alive.STILL_S = 1.5, 1.0, 0.8
failover_alive.LOCK_S, failover_alive.EVERY_S, failover_alive.AGAIN_S = 1, 0.3, 0.1
failover_alive.BLIND_S = 2.0
# The clients of its kernel are the lines of a file. Without the file no client is of before its boot.
failover_past.SETTLE_S = 0.3
datapath.clients = lambda: set(read("clients").split())
if not os.path.exists(os.path.join(folder, "clients")):
    failover_past.BOOTED_S = -1.0
loop.AT_ONCE_S, loop.CALM_S = 0.02, 0.5
loop.HURRY_S = loop.BOOTING_HURRY_S = 0.2
ceph_troubles.FULL_PATIENCE_S = alerts.LOOK_AGAIN_S = 0.5
noout.AGAIN_S = 0.5
usage.EVERY_S = 2.0
act.POLL_S, act.WAIT_S = 0.05, 3.0
memory.FIRST_PAUSE_S, memory.LONGEST_PAUSE_S, memory.BOOTING_PAUSE_S = 0.2, 1.0, 1.0
toolstack.CALL_TIMEOUT_S = 5.0
observe.LOCK_STALE_S = 2.0
decide.SPREAD_PATIENCE_S = 20.0
decide.PLUG_PATIENCE_S = decide.CEPH_PATIENCE_S = 1.0
connection.FOLDER = os.path.join(folder, "containers", "")
containers.EVERY_S, containers.PATIENCE_S = 0.3, 2.0
containers.PLUGIN = os.path.join(folder, "xscontainer")
if os.path.exists(os.path.join(folder, "containers_port")):
    with open(os.path.join(folder, "containers_port")) as port:
        containers.PORT = int(port.read())


def read(name):
    with open(os.path.join(folder, name)) as file:
        return file.read().strip()


observe.read_uptime_s = lambda: time.monotonic() - float(read("booted"))
observe.read_boot = lambda: read("boot_id")
program.main()
