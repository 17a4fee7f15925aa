"""The container service's unit fits what is installed, and has no more rights than it is said to have."""

from __future__ import annotations

import json
from configparser import ConfigParser

from shoal.kit.shipped import volume_service_files
from shoal.steps import container_service
from shoal.steps.volume_service import FOLDER, write_config
from shoal.steps.volume_services import compose_for


def read_unit() -> ConfigParser:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read_string(container_service.TEXT)
    return unit


def test_it_runs_a_file_that_is_installed_on_the_volume_services_settings() -> None:
    program, *words = read_unit()["Service"]["ExecStart"].split()
    assert program == "/usr/bin/python3"
    assert words[1] in {file.path for file in volume_service_files()}
    assert words[2:] == ["--config", f"{FOLDER}/config.json"]


def test_it_has_no_capability_and_writes_nowhere() -> None:
    service = read_unit()["Service"]
    assert service["CapabilityBoundingSet"] == ""
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")


def test_no_container_gets_dockers_socket() -> None:
    assert "docker.sock" not in json.dumps(compose_for({}, "image"))


def test_only_a_storage_vms_settings_name_a_host() -> None:
    assert json.loads(write_config("192.0.2.1", 7443, host="xen1"))["host"] == "xen1"
    assert "host" not in json.loads(write_config("192.0.2.1", 7443))
