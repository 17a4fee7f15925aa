"""The storage VM's config drive: what cloud-init (NoCloud) reads to make one VM out of the image.

An ISO 9660 image labelled CIDATA. It holds no secret.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pycdlib

LABEL = "CIDATA"


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes one storage VM differ from another."""

    name: str
    mac: str
    address: str
    prefix: int
    gateway: str  # "" for none
    dns: tuple[str, ...]
    ntp: tuple[str, ...]
    public_key: str


def derive_mac(pool_uuid: str, host: str) -> str:
    """Locally administered, and the same whenever the VM is made again."""
    digest = hashlib.sha256(f"{pool_uuid}/{host}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def write_files(identity: Identity) -> dict[str, str]:
    """The three files of a NoCloud drive. JSON, since every JSON text is YAML."""
    meta = {"instance-id": f"{identity.name}-{identity.mac.replace(':', '')}", "local-hostname": identity.name}
    return {
        "meta-data": _json(meta),
        "user-data": "#cloud-config\n" + _json(_user_data(identity)),
        "network-config": _json(_network(identity)),
    }


def digest(files: dict[str, str]) -> str:
    return hashlib.sha256(_json(files).encode()).hexdigest()


def build_iso(files: dict[str, str], path: Path) -> None:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for number, (name, text) in enumerate(files.items()):
        data = text.encode()
        short = f"/FILE{number}.;1"  # nobody reads this name: Rock Ridge and Joliet carry the real one
        iso.add_fp(io.BytesIO(data), len(data), short, rr_name=name, joliet_path=f"/{name}")
    iso.write(str(path))
    iso.close()


def _user_data(identity: Identity) -> dict[str, object]:
    data: dict[str, object] = {
        "hostname": identity.name,
        "prefer_fqdn_over_hostname": False,
        "users": [],  # no account besides root: nobody but Shoal and cephadm logs in
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_authorized_keys": [identity.public_key],
        "ssh_genkeytypes": ["ed25519"],
        "package_update": False,
    }
    if identity.ntp:
        sources = "".join(f"server {server} iburst\n" for server in identity.ntp)
        data["write_files"] = [{"path": "/etc/chrony/sources.d/shoal.sources", "content": sources}]
        data["runcmd"] = [["systemctl", "try-restart", "chrony.service"]]
    return data


def _network(identity: Identity) -> dict[str, object]:
    lan: dict[str, object] = {
        "match": {"macaddress": identity.mac},
        "dhcp4": False,
        "addresses": [f"{identity.address}/{identity.prefix}"],
    }
    if identity.gateway:
        lan["routes"] = [{"to": "0.0.0.0/0", "via": identity.gateway}]
    if identity.dns:
        lan["nameservers"] = {"addresses": list(identity.dns)}
    return {"version": 2, "ethernets": {"lan": lan}}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
