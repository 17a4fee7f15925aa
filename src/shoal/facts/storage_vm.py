"""A storage VM: what XenAPI says of it, and what it says of itself over SSH."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guest:
    """Inside a running storage VM that answers."""

    is_ready: bool  # cloud-init has finished, Docker answers
    clock_skew_s: float
    images: tuple[str, ...] = ()  # container images in Docker, "repository:tag"
    volume_service: str = ""  # sha256 of the deployed code and settings of the volume service; "" when not deployed
    volume_service_runs: str = ""  # the same of what the service was last started with; "" while that is due
    volume_service_answers: bool = False
    volume_authority: str = ""  # sha256 of its CA certificate; "" without a certificate that lasts
    volume_clients: tuple[str, ...] | None = None  # whom its volume service takes; None: there is no list


@dataclass(frozen=True, slots=True)
class StorageVm:
    """`guest` is None when it does not run or does not answer; `unreachable` then says why."""

    host: str
    uuid: str
    power_state: str  # XenAPI's: "Running", "Halted", …
    resident_on: str  # name of the host that it runs on, or ""
    address: str
    disks: dict[str, str]  # VBD userdevice → VDI uuid
    settings_digest: str = ""  # other_config shoal:settings, what it was made from
    guest: Guest | None = None
    unreachable: str = ""
