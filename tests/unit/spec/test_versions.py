"""Which kernel and which Ceph need which settings."""

from __future__ import annotations

import pytest

from dom0.shoal_dom0.datapath import NAMESPACES_SINCE
from shoal.spec.versions import ceph_problem, ceph_version, kernel_problem, namespace_problem, parse_kernel, tune

XCP_NG_83 = parse_kernel("4.19.0+1")
DEBIAN_12 = parse_kernel("6.1.0-35-amd64")
NEWEST_KERNEL = parse_kernel("7.0.1")


@pytest.mark.parametrize(
    ("text", "version"), [("4.19.0+1", (4, 19, 0)), ("6.1.0-35-amd64", (6, 1, 0)), ("7.0", (7, 0, 0)), ("what", ())]
)
def test_kernels(text: str, version: tuple[int, ...]) -> None:
    assert parse_kernel(text) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("quay.io/ceph/ceph:v19.2.3", (19, 2, 3)),
        ("localhost/ceph:18.2.7", (18, 2, 7)),
        ("registry:5000/ceph:v20.2.4-20260801", (20, 2, 4)),
        ("registry:5000/ceph", ()),
        ("quay.io/ceph/ceph:latest", ()),
    ],
)
def test_images(image: str, version: tuple[int, ...]) -> None:
    assert ceph_version(image) == version


def test_a_tag_of_a_release_may_be_any_of_its_points() -> None:
    assert ceph_version("ceph:v19") > (19, 2, 6)
    assert ceph_version("ceph:v19") < (20,)
    assert ceph_version("ceph:latest", "18.2.7") == (18, 2, 7)


@pytest.mark.parametrize(
    ("kernel", "ceph", "ciphers"),
    [
        (XCP_NG_83, (18, 2, 7), ""),
        (XCP_NG_83, (19, 2, 5), ""),
        (XCP_NG_83, (19, 2, 6), "aes,aes256k"),
        (DEBIAN_12, (20, 2, 3), ""),
        (DEBIAN_12, (20, 2, 4), "aes,aes256k"),
        (DEBIAN_12, (21, 2, 0), "aes,aes256k"),
        (NEWEST_KERNEL, (20, 2, 4), ""),
    ],
)
def test_old_kernels_need_old_keys_from_new_clusters(
    kernel: tuple[int, ...], ceph: tuple[int, ...], ciphers: str
) -> None:
    tuning = tune(kernel, ceph)
    assert tuning.allowed_ciphers == ciphers
    assert tuning.kernel_key_type == ("aes" if ciphers else "")


def test_old_kernels_need_messenger_1() -> None:
    assert tune(XCP_NG_83, (19, 2, 3)).settings["global/ms_bind_msgr1"] == "true"
    assert "global/ms_bind_msgr1" not in tune(DEBIAN_12, (19, 2, 3)).settings


def test_snapshots_do_not_wait_for_a_slow_round_of_the_monitors() -> None:
    assert tune(DEBIAN_12, (19, 2, 3)).settings == {"mon/paxos_propose_interval": "0.1"}


def test_what_is_too_old() -> None:
    assert "exclusively" in kernel_problem(parse_kernel("4.4.0+10"))
    assert kernel_problem(XCP_NG_83) == ""
    assert "namespaces" in namespace_problem(parse_kernel("4.18.20"))
    assert namespace_problem(XCP_NG_83) == ""
    assert ceph_problem((17, 2, 7))
    assert ceph_problem((18, 2, 0)) == ""


def test_a_dom0_refuses_namespaces_where_the_plan_does() -> None:
    """The driver cannot import this."""
    assert not namespace_problem((*NAMESPACES_SINCE, 0))
    assert namespace_problem((NAMESPACES_SINCE[0], NAMESPACES_SINCE[1] - 1, 99))
