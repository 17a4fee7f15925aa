"""Runs the container service with its fixed places moved below a folder: `launch_containers.py FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from volumes import containers
from volumes.containers import __main__ as program
from volumes.containers import daemons, docker, routes

folder, port = Path(sys.argv[1]), int(sys.argv[2])
containers.PORT = port
docker.SOCKET = str(folder / "docker.sock")
daemons.UNITS = folder / "units"
routes.APPEAR_TIMEOUT_S = 1.0
sys.argv[1:] = ["--config", str(folder / "config.json")]
program.main()
