"""Runs what a host does when it shuts down, with its fixed paths moved below a folder: `launch_shutdown.py FOLDER`."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import settings, xapi  # noqa: E402
from shoal_keeper import failover_roster, observe, services, shutdown, toolstack  # noqa: E402

folder = sys.argv.pop(1)
xapi.SOCKET = os.path.join(folder, "xapi")
settings.HOST_FILE = os.path.join(folder, "host.json")
services.FOLDER = os.path.join(folder, "volumes", "")
failover_roster.FILE = os.path.join(folder, "var", "failover.json")
observe.INVENTORY = os.path.join(folder, "inventory")
os.environ["PATH"] = os.path.join(folder, "bin") + ":" + os.environ["PATH"]

toolstack.CALL_TIMEOUT_S = 2.0
shutdown.POLL_S, shutdown.AWAY_S = 0.05, 2.0
shutdown.VMS_S = shutdown.UNPLUG_S = shutdown.STORAGE_VM_S = 5.0
shutdown.main()
