"""What Shoal sets for a quick failover: a real Ceph knows each of the settings, and takes it while it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shoal.spec.detection import DETECTION
from tests.ceph.cluster import Cluster
from tests.chaos import load, records

pytestmark = pytest.mark.ceph


def test_ceph_takes_each_setting_while_it_runs(cluster: Cluster) -> None:
    for key, value in DETECTION.items():
        section, _, name = key.partition("/")
        told = json.loads(cluster.ceph("config", "help", name, "--format", "json"))
        assert told["can_update_at_runtime"], name
        assert float(told["default"]) != float(value), f"{name} need not be set"
        cluster.ceph("config", "set", section, name, value)
    try:
        for daemon, name in (("osd.0", "osd_heartbeat_grace"), ("mon.a", "mon_lease"), ("osd.0", "mon_lease")):
            shown = json.loads(cluster.ceph("tell", daemon, "config", "get", name, "--format", "json"))
            assert float(shown[name]) == float(DETECTION[f"global/{name}"])
    finally:
        for key in DETECTION:
            cluster.ceph("config", "rm", *key.split("/"))


def test_the_programs_of_the_chaos_run_read_and_write_a_pool(cluster: Cluster) -> None:
    """They run beside a monitor in the lab, and nobody sees why if they cannot."""
    cluster.rbd("create", "rbd/vdi-chaos", "--size", "64M", "--image-feature", "layering,exclusive-lock")
    try:
        files = ("/scratch/ceph.conf", "/scratch/admin.keyring")
        said = cluster.run("python3", "-", *files, "rbd", "vdi-chaos", stdin=Path(records.__file__).read_text())
        assert json.loads(said) == {"highest": 0, "last": 0, "runs": []}
        said = cluster.run("python3", "-", *files, "other", "1", stdin=Path(load.__file__).read_text())
        assert int(said.split()[0]) > 0
        assert cluster.run("rados", "-c", files[0], "-k", files[1], "-p", "other", "ls") == ""
    finally:
        cluster.rbd("rm", "--no-progress", "rbd/vdi-chaos")
