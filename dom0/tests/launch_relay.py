"""Runs the relay with its fixed paths moved below a folder: `launch_relay.py FOLDER`. Python 3.6."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from shoal_dom0 import connection, relay  # noqa: E402
from shoal_relay import __main__ as program  # noqa: E402

folder = sys.argv.pop(1)
relay.SOCKET = os.path.join(folder, "relay")
connection.FOLDER = os.path.join(folder, "relay-volumes", "")
program.main()
