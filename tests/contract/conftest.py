"""A pool on loopback with a small real driver executable, and the published data model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import install_driver, log_in

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_model() -> dict[str, Any]:
    """The published XenAPI data model, class by name."""
    path = Path(os.environ.get("SHOAL_DATA_MODEL", ROOT.parent / "shared/data/xenapi.json"))
    if not path.exists():
        pytest.fail(
            f"{path} is not there: it is the published XenAPI data model, doc/data/xenapi.json of the xen-api project. "
            "Fetch it and say where it is with SHOAL_DATA_MODEL."
        )
    return {cls["name"]: cls for cls in json.loads(path.read_text())}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LoopbackPool]:
    """One host."""
    made = LoopbackPool(tmp_path)
    install_driver(made.master)
    with made:
        yield made


@pytest.fixture
def three(tmp_path: Path) -> Iterator[LoopbackPool]:
    """Three hosts. Their `small` SRs share one folder, as a shared storage would."""
    made = LoopbackPool(tmp_path, host_count=3)
    for host in made.hosts.values():
        install_driver(host)
    with made:
        yield made


@pytest.fixture
def api(pool: LoopbackPool) -> Any:
    """The official client, logged in."""
    return log_in(pool)
