"""What a storage VM listens on, for all of its network: what is known to, and nothing besides."""

from __future__ import annotations

import pytest

from lab.topology import Lab
from tests.lab.conftest import Run
from tests.lab.storage_vm_shell import in_storage_vm

pytestmark = [pytest.mark.lab, pytest.mark.long]
SSH, VOLUMES, CONTAINERS, MONITOR = 22, 7443, 7444, {3300, 6789}
CEPH = range(6800, 7569)  # OSDs and managers, one port after the other


def test_nothing_listens_that_is_not_meant_to(lab: Lab, shoal: Run) -> None:
    assert shoal("apply", "--yes", timeout_s=1200).returncode == 0
    for host in lab.hosts:
        lines = in_storage_vm(
            lab, host, ["ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric"]
        ).splitlines()
        places = [(line.split()[0], *line.split()[4].rsplit(":", 1)) for line in lines]
        open_to_all = {(kind, int(port)) for kind, address, port in places if not address.startswith(("127.", "[::1]"))}
        meant = {("tcp", port) for port in (SSH, VOLUMES, CONTAINERS, *MONITOR, *CEPH)}
        assert open_to_all <= meant, host.name
        assert {("tcp", SSH), ("tcp", VOLUMES), ("tcp", CONTAINERS)} <= open_to_all, host.name
