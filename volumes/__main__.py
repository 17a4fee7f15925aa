"""Starts the volume service: `python3 …/volumes/__main__.py --config FILE`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from volumes import config as configuration
from volumes.bounded import Workers
from volumes.ceph import Ceph
from volumes.purge import Purger
from volumes.routes import KINDS, Routes, parse
from volumes.server import Server

STUCK_AFTER_S = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="shoal-volumes")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    config = configuration.load(arguments.config)
    ceph = Ceph(config)
    workers = Workers(KINDS, STUCK_AFTER_S)
    purger = Purger(ceph.with_pool, ceph, ceph)
    routes = Routes(ceph, workers, purger)
    server = Server(config, lambda method, target, body: routes.answer(parse(method, target, body)))
    workers.watch()
    purger.start()
    logging.getLogger("volumes").info("listening on %s:%d", config.address, config.port)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
