"""Starts the container service: `python3 -ISB …/volumes/containers/__main__.py --config FILE`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from volumes import config as configuration
from volumes.containers.routes import Routes
from volumes.containers.server import make_server


def main() -> int:
    parser = argparse.ArgumentParser(prog="shoal-containers")
    parser.add_argument("--config", type=Path, required=True, help="that of the volume service")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    config = configuration.load(arguments.config)
    server = make_server(config, Routes().answer)
    logging.getLogger("volumes").info("listening on %s:%d, for %s", *server.server_address[:2], config.host)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
