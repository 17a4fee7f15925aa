"""Which dom0 kernel and which Ceph go together, and what Ceph must be told for it. A pure table with sources."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Version = tuple[int, ...]
_NEWEST = 10**6  # a tag that names only the release ("v19") may be any point release of it

OLDEST_KNOWN, NEWEST_KNOWN = 18, 20  # Reef to Tentacle: what `tune` knows of


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a cluster needs so that these kernels can map its images."""

    settings: dict[str, str] = field(default_factory=dict)  # "section/name" → value, by `ceph config set`
    allowed_ciphers: str = ""  # `ceph mon set auth_allowed_ciphers`; "" leaves Ceph's default
    kernel_key_type: str = ""  # of the key that krbd uses; "" leaves Ceph's default
    min_compat_client: str = ""  # `ceph osd set-require-min-compat-client`


def parse_kernel(text: str) -> Version:
    """ "4.19.0+1" → (4, 19, 0); () when it is no version."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups(default="0")) if match else ()


def ceph_version(image: str, version: str | None = None) -> Version:
    """From `ceph.version`, else from the image's tag: "ceph:v19.2.3" → (19, 2, 3); () when neither tells."""
    tag = version if version is not None else image.rpartition("/")[2].partition(":")[2]
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\D|$)", tag)
    return tuple(int(part) for part in match.groups(default=str(_NEWEST))) if match else ()


def image_problem(image: str) -> str:
    """Why cephadm would run another image than is meant, or ""."""
    # Its normalize_image_digest, which `orch upgrade start` goes through and `orch upgrade check` does not: whatever
    # begins with one of its short names gets mgr/cephadm/default_registry in front, and keeps it in `orch ps`.
    if image.startswith(("ceph/ceph", "ceph/daemon")):
        return f"{image} names no registry: cephadm takes it for one of quay.io, and Docker for one of Docker Hub"
    return ""


def image_remedy(image: str) -> str:
    return f"write quay.io/{image}, or the registry that is meant"


def kernel_problem(kernel: Version) -> str:
    """Why a dom0 with this kernel cannot be used, or ""."""
    # `exclusive` came with Linux 4.12 (man 8 rbd); without it two hosts could write to one image.
    if kernel and kernel < (4, 12):
        return "its krbd cannot map an image exclusively, which Linux 4.12 brought"
    return ""


def namespace_problem(kernel: Version) -> str:
    """Why a dom0 with this kernel cannot use an SR in a namespace, or ""."""
    # 4.19 brought the option `_pool_ns` (commit b26c047b9400) and the question `parent_get` (e92c0eaf7543). A clone in
    # a namespace needs both: an OSD answers the older `get_parent` with EXDEV for it.
    if kernel and kernel < (4, 19):
        return "its krbd knows no namespaces, which Linux 4.19 brought"
    return ""


def ceph_problem(ceph: Version) -> str:
    """Why this Ceph cannot be used, or ""."""
    # Releases before Reef get no more fixes, and the volume service is tested from Reef on.
    if ceph < (18,):
        return "Ceph before 18 (Reef) is not supported"
    return ""


def tune(kernel: Version, ceph: Version) -> Tuning:
    """What to set, for the oldest kernel of the pool's hosts."""
    # Snapshots and fencing change the monitors' maps, which are made in rounds, 1 s apart by default: a snapshot took
    # 1,014 ms, and then 112. There is no round without a change, so a quiet cluster pays nothing for it.
    settings = {"mon/paxos_propose_interval": "0.1"}
    # krbd speaks messenger v2 since Linux 5.11 (its option ms_mode): older ones need the monitors' v1 ports.
    if kernel < (5, 11):
        settings["global/ms_bind_msgr1"] = "true"
    # CVE-2025-30156: new clusters make aes256k keys, which the kernel client knows since Linux 7.0
    # (ceph doc/security/CVE-2025-30156.rst).
    has_new_keys = ceph >= (20, 2, 4) or (19, 2, 6) <= ceph < (20,)
    old_keys = has_new_keys and kernel < (7, 0)
    return Tuning(
        settings=settings,
        allowed_ciphers="aes,aes256k" if old_keys else "",
        kernel_key_type="aes" if old_keys else "",
        # Clone format 2 (rbd_default_clone_format auto). It must be set before a kernel client connects: krbd shows as
        # "luminous" and the command then refuses; it maps such images all the same (tried with 6.1 and Ceph 18.2.7).
        min_compat_client="mimic",
    )


def exact(version: Version) -> str:
    """ "18.2.7"; "" where the image's name tells less than that."""
    return "" if not version or _NEWEST in version else ".".join(map(str, version))


def upgrade_problem(newest: Version, oldest: Version, target: Version) -> str:
    """Why a cluster whose daemons run from `oldest` to `newest` cannot be brought to `target`, or ""."""
    if not target:
        return "its name does not tell Ceph's version"
    if ceph_problem(target):
        return ceph_problem(target)
    if target[0] > NEWEST_KNOWN:
        return f"Ceph {target[0]} is not known to this Shoal, which knows {OLDEST_KNOWN} to {NEWEST_KNOWN}"
    if target < newest:
        return f"it is older than {'.'.join(map(str, newest))}, which runs already; Ceph cannot go back"
    # doc/cephadm/upgrade.rst and the release notes: from at most two releases before.
    if oldest and target[0] - oldest[0] > 2:
        return f"from {oldest[0]} to {target[0]} are more than two releases; go by way of {oldest[0] + 2}"
    return ""
