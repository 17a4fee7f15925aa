"""What Xen's tools and the kernel say of this host's VMs, as `domains` reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dom0.shoal_dom0 import datapath, tapdisk
from dom0.shoal_keeper import domains

VOLUME, VM = "0c9dc3f6-51a5-4a6c-9f2c-6a0c35b8f9e1", "7b1a2d44-0000-4000-8000-000000000001"
DISK = f"5f3a6a52-9d1c-4b7e-8a53-1f0e6a4f2c11/{VOLUME}"  # SR and VDI
PATH = datapath.link_path(*DISK.split("/"))
NBD = f"nbd:unix:{tapdisk.nbd_link(DISK)}:exportname={VOLUME}"


def store(kind: str, params: str) -> str:
    """As xenopsd writes it; `physical-device-path` names the socket itself, and no disk."""
    backend = f"/local/domain/0/backend/{kind}/7/51712"
    socket = f'{backend}/physical-device-path = "/run/blktap-control/nbd4711.0"   (n0,r7)'
    return f'{backend}/params = "{params}"   (n0,r7)\n{socket}'


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rbd/0").mkdir(parents=True)
    (tmp_path / "rbd/0/name").write_text(f"vdi-{VOLUME}\n")
    monkeypatch.setattr(domains, "RBD_DEVICES", str(tmp_path / "rbd"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    say(tmp_path, "xl", f'echo "UUID ID name"; echo "{VM} 7 guest"')
    return tmp_path


def say(dom0: Path, name: str, script: str) -> None:
    (dom0 / name).write_text(f"#!/bin/sh\n{script}\n")
    (dom0 / name).chmod(0o755)


@pytest.mark.parametrize(
    ("kind", "params"),
    [("vbd", PATH), ("vbd3", PATH), ("vbd3", NBD), ("qdisk", NBD), ("vbd3", "/" + NBD)],
    ids=["blkback", "tapdisk with a device", "tapdisk with a socket only", "qemu on that socket", "the same anew"],
)
def test_a_vm_with_a_mapped_disk_runs_here(dom0: Path, kind: str, params: str) -> None:
    say(dom0, "xenstore-ls", f"echo '{store(kind, params)}'")
    assert domains.on_shoal() == {VM: "7"}


def test_a_vm_whose_disk_is_not_mapped_is_none_of_ours(dom0: Path) -> None:
    say(dom0, "xenstore-ls", f"echo '{store('vbd3', NBD.replace(VOLUME, VM))}'")
    assert domains.on_shoal() == {}


def test_where_no_vm_has_a_backend_none_runs(dom0: Path) -> None:
    say(dom0, "xenstore-ls", 'echo "xenstore-ls: xs_directory ($2): No such file or directory" >&2; exit 1')
    assert domains.on_shoal() == {}


@pytest.mark.parametrize("script", ['echo "xenstore-ls: xs_open: No such file or directory" >&2; exit 1', "exit 2"])
def test_silence_is_no_answer(dom0: Path, script: str) -> None:
    say(dom0, "xenstore-ls", script)
    with pytest.raises(domains.XenSilent):
        domains.on_shoal()
