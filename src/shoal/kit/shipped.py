"""The files that travel with Shoal to be installed elsewhere: dom0's kit and the volume service. And their digests.

In a checkout they lie in `dom0/` and `volumes/`, in an installed wheel in `shoal/_dom0` and `shoal/_volumes`.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shoal.kit.errors import ShoalError

DOM0_CODE = "/opt/shoal/dom0"
DOM0_DRIVER = "/opt/xensource/sm/RBDSR"
DOM0_MAPPER = f"{DOM0_CODE}/map_images.py"
DOM0_PLUGIN = f"{DOM0_CODE}/container_plugin.py"
DOM0_PLUGIN_LINK = "/etc/xapi.d/plugins/xscontainer"
DOM0_UNITS = ("/etc/systemd/system/shoal-map.service", "/etc/systemd/system/shoal-map-retry.service")
DOM0_KEEPER_UNIT = "/etc/systemd/system/shoal-keeper.service"
DOM0_RELAY_UNIT = "/etc/systemd/system/shoal-relay.service"
DOM0_RUN = "/run/shoal"
DOM0_RULES = "/etc/udev/rules.d/59-shoal.rules"
DOM0_OUTSIDE = (*DOM0_UNITS, DOM0_RELAY_UNIT, DOM0_KEEPER_UNIT, DOM0_RULES, DOM0_DRIVER)
"""Where the kit's files lie that are not below DOM0_CODE. The driver last, as it is what others call."""
DOM0_WHITELIST = "/etc/xapi.conf.d/99-shoal.conf"
DOM0_MODULES = "/etc/modules-load.d/shoal.conf"
DOM0_SERVICES = tuple(path.rpartition("/")[2] for path in (DOM0_KEEPER_UNIT, DOM0_RELAY_UNIT, *DOM0_UNITS))
DOM0_WANTS = tuple(f"/etc/systemd/system/multi-user.target.wants/{unit}" for unit in DOM0_SERVICES)
_FOLDERS = ("/opt/shoal", "/etc/shoal", "/var/lib/shoal", DOM0_RUN)
DOM0_OWN = (*_FOLDERS, *DOM0_OUTSIDE, *DOM0_WANTS, DOM0_WHITELIST, DOM0_MODULES)
"""All files and folders in a dom0 that are Shoal's alone: what `destroy` removes."""
DOM0_PACKAGES = ("shoal_dom0", "shoal_keeper", "shoal_relay")
VOLUMES_CODE = "/opt/shoal/volumes"

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


@dataclass(frozen=True, slots=True)
class ShippedFile:
    """A file as it shall be on the target."""

    path: str
    data: bytes
    mode: int = 0o644


def folder(name: str) -> Path:
    """Where "dom0" or "volumes" is, installed or in a checkout."""
    for place in (_PACKAGE / f"_{name}", _CHECKOUT / name):
        if place.is_dir():
            return place
    raise ShoalError(f"Shoal is not installed completely: its folder {name} is missing", resolution="Install it again.")


def dom0_files() -> tuple[ShippedFile, ...]:
    """The kit of a dom0: driver, relay, keeper, mapper, plugin, and their code. The probe is sent, not installed."""
    source = folder("dom0")
    driver = ShippedFile(DOM0_DRIVER, (source / "RBDSR").read_bytes(), 0o755)
    mapper = ShippedFile(DOM0_MAPPER, (source / "map_images.py").read_bytes())
    plugin = ShippedFile(DOM0_PLUGIN, (source / "container_plugin.py").read_bytes(), 0o755)
    names = (*DOM0_UNITS, DOM0_RELAY_UNIT, DOM0_KEEPER_UNIT)
    units = (ShippedFile(path, (source / "units" / Path(path).name).read_bytes()) for path in names)
    rules = ShippedFile(DOM0_RULES, (source / "udev" / Path(DOM0_RULES).name).read_bytes())
    packages = (file for name in DOM0_PACKAGES for file in _code(source / name, f"{DOM0_CODE}/{name}"))
    return (driver, mapper, plugin, *units, rules, *packages)


def volume_service_files() -> tuple[ShippedFile, ...]:
    return tuple(_code(folder("volumes"), VOLUMES_CODE))


def probe(name: str) -> bytes:
    """A program of dom0/ that is sent to `python3 -` there."""
    return (folder("dom0") / f"{name}.py").read_bytes()


def pack(files: Iterable[ShippedFile]) -> bytes:
    """All files in one go: under emulation each round trip counts."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.size, info.mode = len(file.data), file.mode
            tar.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


def digest(files: Iterable[ShippedFile]) -> str:
    """sha256 over paths and contents. The probes compute the same on what they find; "" is for nothing at all.

    Not over modes: those are mended whenever files are written, and a umask must not make a plan.
    """
    lines = sorted(f"{hashlib.sha256(file.data).hexdigest()}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def _code(source: Path, target: str) -> Iterable[ShippedFile]:
    """The Python files of a folder, without its tests."""
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        if "tests" not in place.parts:
            yield ShippedFile(f"{target}/{place}", path.read_bytes())
