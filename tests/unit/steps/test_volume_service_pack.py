"""What a Ceph cluster of somebody else's is given to run the volume service: complete, and made once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from shoal.kit.errors import ShoalError
from shoal.spec.load import parse
from shoal.spec.model import Spec
from shoal.spec.sources import Surroundings
from shoal.steps import authority_files, certificates, volume_service_pack
from shoal.steps.volume_service_pack import write_commands

EXISTING = Path(__file__).parents[2] / "cases" / "existing.yaml"


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    surroundings = Surroundings(folder=tmp_path, environ={"SHOAL_POOL_PASSWORD": "never shown"})
    return parse(EXISTING.read_text(), tmp_path / "shoal.yaml", surroundings).spec


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_machine_gets_code_settings_and_a_certificate_of_its_own(spec: Spec, tmp_path: Path) -> None:
    said = list(volume_service_pack.write(spec, tmp_path / "pack"))
    assert len(said) == 5
    ca = (tmp_path / "authority/ca.pem").read_text()
    assert (tmp_path / "authority/ca.key").stat().st_mode & 0o077 == 0
    for address in ("10.0.0.5", "10.0.0.6"):
        folder = tmp_path / f"pack/{address}-7443"
        assert (folder / "opt/shoal/volumes/__main__.py").is_file()
        own = folder / "etc/shoal/volumes"
        config = json.loads((own / "config.json").read_text())
        assert (config["listen"], config["user"]) == ([address, 7443], "shoal-xen-volumes")
        assert certificates.is_by(ca, (own / "server.pem").read_text())
        assert (own / "server.key").stat().st_mode & 0o077 == 0
        assert (own / "run").stat().st_mode & 0o111
        assert not (own / "keyring").exists()
        assert json.loads((own / "clients.json").read_text()) == [host.name for host in spec.hosts]
    service = json.loads((tmp_path / "pack/service.yaml").read_text())
    assert (service["placement"], service["spec"]["image"]) == (
        {"label": "shoal-volumes"},
        "quay.io/ceph/ceph:v18.2.7",
    )


def test_a_second_time_nothing_changes_and_the_authority_stays(spec: Spec, tmp_path: Path) -> None:
    list(volume_service_pack.write(spec, tmp_path / "pack"))
    before = files(tmp_path)
    list(volume_service_pack.write(spec, tmp_path / "pack"))
    assert files(tmp_path) == before
    assert b"never shown" not in b"".join(before.values())


def test_half_an_authority_is_made_anew_and_a_wrong_one_refused(tmp_path: Path) -> None:
    made = authority_files.find_or_make(tmp_path)
    assert authority_files.find_or_make(tmp_path) == made == authority_files.read(tmp_path)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ShoalError, match=r"cannot read the certificate authority in .*: No such file"):
        authority_files.read(tmp_path)
    again = authority_files.find_or_make(tmp_path)
    assert again != made
    (tmp_path / "ca.pem").write_text(made.certificate)
    with pytest.raises(ShoalError, match="do not belong together"):
        authority_files.find_or_make(tmp_path)


def test_the_commands_are_a_shell_script_with_rights_by_name(spec: Spec) -> None:
    commands = write_commands(spec)
    caps = "'profile rbd pool=rbd namespace=xen, profile rbd pool=bulk namespace=xen'"
    for user in ("client.shoal-xen", "client.shoal-xen-volumes"):
        assert f"ceph auth caps {user} mon 'profile rbd' osd {caps} mgr {caps}" in commands
    assert subprocess.run(["sh", "-n"], input=commands, text=True, check=False).returncode == 0
