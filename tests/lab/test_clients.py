"""Whom the volume services of a real pool take: each host by its certificate, and none that is off the list."""

from __future__ import annotations

import pytest

from lab.topology import Host, Lab
from tests.lab.conftest import Run, lab_cli
from tests.lab.storage_vm_shell import in_storage_vm

pytestmark = [pytest.mark.lab, pytest.mark.long]  # test_driver: every call shows that hosts on the list are taken
LIST = "/etc/shoal/volumes/clients.json"
WITHOUT = """import json, sys
with open(sys.argv[1], "r+") as file:
    names = json.load(file)
    file.seek(0), file.truncate()
    json.dump([name for name in names if not name.startswith(sys.argv[2] + " ")], file)
"""
FILES = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key"]


def ask(host: Host, service: Host) -> str:
    """The HTTP status that dom0 gets."""
    url = f"https://{service.storage_vm_address}:7443/v1/status"
    curl = ["curl", "-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", *FILES, url]
    return lab_cli("run", host.name, "--", "sh", "-c", 'cd /etc/shoal/volumes; exec "$@"', "sh", *curl).stdout.strip()


def test_a_host_off_the_list_is_refused_and_apply_puts_it_back(lab: Lab, shoal: Run) -> None:
    assert shoal("apply", "--yes", timeout_s=1200).returncode == 0
    first, *_, last = lab.hosts
    assert ask(last, first) == ask(first, first) == "200"
    in_storage_vm(lab, first, ["python3", "-c", WITHOUT, LIST, last.name])
    assert (ask(last, first), ask(first, first), ask(last, last)) == ("403", "200", "200")
    planned = shoal("plan", timeout_s=120).stdout
    assert f"the volume service of {first.name} does not take {last.name} " in planned
    assert shoal("apply", "--yes", timeout_s=1200).returncode == 0
    assert ask(last, first) == "200"
