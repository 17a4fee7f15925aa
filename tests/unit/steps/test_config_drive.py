"""What cloud-init finds on the config drive, read back from the image itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pycdlib

from shoal.steps import config_drive
from shoal.steps.config_drive import Identity

IDENTITY = Identity(
    name="shoal-storage-xen1",
    mac="02:11:22:33:44:55",
    address="10.77.0.21",
    prefix=24,
    gateway="10.77.0.1",
    dns=("10.77.0.2",),
    ntp=("ntp.example",),
    public_key="ssh-ed25519 AAAA shoal",
)


def read(image: Path) -> dict[str, str]:
    iso = pycdlib.PyCdlib()
    iso.open(str(image))
    assert iso.pvd.volume_identifier.strip() == b"CIDATA"
    found = {}
    for child in iso.list_children(joliet_path="/"):
        name = child.file_identifier().decode("utf-16-be")
        if child.is_file():
            data = io.BytesIO()
            iso.get_file_from_iso_fp(data, rr_path=f"/{name}")
            found[name] = data.getvalue().decode()
    iso.close()
    return found


def test_the_image_holds_the_three_files_under_their_real_names(tmp_path: Path) -> None:
    files = config_drive.write_files(IDENTITY)
    config_drive.build_iso(files, tmp_path / "drive.iso")
    assert read(tmp_path / "drive.iso") == files
    assert set(files) == {"meta-data", "user-data", "network-config"}


def test_the_address_is_matched_by_mac_and_root_has_only_the_pools_key() -> None:
    files = config_drive.write_files(IDENTITY)
    lan = json.loads(files["network-config"])["ethernets"]["lan"]
    assert lan["match"] == {"macaddress": "02:11:22:33:44:55"}
    assert lan["addresses"] == ["10.77.0.21/24"]
    assert lan["routes"] == [{"to": "0.0.0.0/0", "via": "10.77.0.1"}]
    head, _, body = files["user-data"].partition("\n")
    assert head == "#cloud-config"
    user = json.loads(body)
    assert (user["users"], user["ssh_authorized_keys"], user["ssh_pwauth"]) == ([], ["ssh-ed25519 AAAA shoal"], False)
    assert user["write_files"][0]["content"] == "server ntp.example iburst\n"


def test_the_mac_is_local_unicast_and_the_same_each_time() -> None:
    mac = config_drive.derive_mac("pool-uuid", "xen1")
    assert mac == config_drive.derive_mac("pool-uuid", "xen1") != config_drive.derive_mac("pool-uuid", "xen2")
    assert int(mac[:2], 16) & 0b11 == 0b10
