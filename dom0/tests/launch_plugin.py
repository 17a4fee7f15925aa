"""Runs the plugin `xscontainer` with its fixed paths moved below a folder: `launch_plugin.py FOLDER CALL`. Python 3.6."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import connection, settings, xapi  # noqa: E402
from shoal_keeper import containers, observe  # noqa: E402
from shoal_keeper.container_calls import main  # noqa: E402

folder = sys.argv.pop(1)
xapi.SOCKET = os.path.join(folder, "xapi")
settings.HOST_FILE = os.path.join(folder, "host.json")
connection.FOLDER = os.path.join(folder, "containers", "")
observe.INVENTORY = os.path.join(folder, "inventory")
with open(os.path.join(folder, "containers_port")) as port:
    containers.PORT = int(port.read())
sys.exit(main(sys.argv))
