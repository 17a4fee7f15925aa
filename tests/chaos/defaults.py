"""Ceph's own defaults in place of Shoal's settings, for as long as they are to be measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from shoal.spec.detection import DETECTION
from tests.chaos.ground import Ground

SETTLE_S = 30.0  # daemons learn of a setting at once; the pings under way still have the old grace


@contextlib.contextmanager
def ceph_defaults(ground: Ground) -> Iterator[None]:
    """What was set is set again at the end, also after an error."""
    names = {name.partition("/")[2] for name in DETECTION}
    was = settings_in(ground.ceph("config", "dump"), names)
    try:
        for section, name in was:
            ground.ceph("config", "rm", section, name)
        time.sleep(SETTLE_S)
        yield
    finally:
        for (section, name), value in was.items():
            ground.ceph("config", "set", section, name, value)
        time.sleep(SETTLE_S)


def settings_in(dump: Any, names: set[str]) -> dict[tuple[str, str], str]:
    """Of `ceph config dump` what is set of these, in any section."""
    return {(row["section"], row["name"]): row["value"] for row in dump if row["name"] in names}
