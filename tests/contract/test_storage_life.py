"""A whole life of SRs and their disks, driven by the official client."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xmlrpc.client import DateTime

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import (
    MIB,
    NULL,
    commands,
    log_in,
    make_sr,
    master,
    refused,
    requests,
    vbd_record,
    vdi_record,
    vm_record,
)


def test_an_sr_from_creation_to_its_end(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    (pbd,) = api.SR.get_PBDs(sr)
    assert api.PBD.get_currently_attached(pbd) is True
    vdi = api.VDI.create(vdi_record(sr, other_config={"a": "b"}))
    record = api.VDI.get_record(vdi)
    assert (record["name_label"], record["virtual_size"], record["managed"]) == ("disk", str(8 * MIB), True)
    assert record["other_config"] == {"a": "b"}
    assert isinstance(record["snapshot_time"], DateTime)
    assert api.SR.get_VDIs(sr) == [vdi]
    api.VDI.resize(vdi, str(16 * MIB))
    assert api.VDI.get_virtual_size(vdi) == str(16 * MIB)
    api.SR.scan(sr)
    assert refused(api.SR.destroy, sr)[0] == "SR_HAS_PBD"
    api.PBD.unplug(pbd)
    assert refused(api.SR.destroy, sr) == ["SR_NOT_EMPTY"]
    api.PBD.plug(pbd)
    api.VDI.destroy(vdi)
    api.PBD.unplug(pbd)
    api.SR.destroy(sr)
    assert refused(api.SR.get_uuid, sr) == ["HANDLE_INVALID", "SR", sr]
    assert api.PBD.get_all_records().keys().isdisjoint({pbd})


def test_the_driver_is_asked_as_xapi_asks(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    vdi = api.VDI.create(vdi_record(sr, sm_config={"k": "v"}))
    asked = {request["command"]: request for request in requests(pool.master)}
    info, create, attach = asked["sr_get_driver_info"], asked["vdi_create"], asked["sr_attach"]
    assert "session_ref" not in info and info["device_config"] == {}
    assert asked["sr_create"]["args"] == ["0"]
    assert attach["device_config"]["SRmaster"] == "true"
    assert attach["sr_uuid"] == api.SR.get_uuid(sr) and attach["sr_ref"] == sr
    assert attach["host_ref"] == master(api)
    assert create["args"] == [str(8 * MIB), "disk", "", "", "false", "19700101T00:00:00Z", "", "false"]
    assert create["vdi_sm_config"] == {"k": "v"} and create["vdi_type"] == "user"
    api.VDI.resize(vdi, str(16 * MIB))
    resize = requests(pool.master)[-1]
    assert resize["vdi_location"] == resize["vdi_uuid"] == api.VDI.get_uuid(vdi)
    assert resize["vdi_on_boot"] == "persist" and resize["vdi_allow_caching"] == "false"
    assert all(not api_session_lives(api, request["session_ref"]) for request in requests(pool.master)[1:])


def api_session_lives(api: Any, session: str) -> bool:
    return refused(api.session.get_uuid, session)[0] != "HANDLE_INVALID"


def test_creation_on_the_storage_that_fails_leaves_nothing(api: Any, pool: LoopbackPool) -> None:
    before = (len(api.SR.get_all()), len(api.PBD.get_all()), len(api.secret.get_all()))
    config = {"path": "/not/there", "cephx_password": "secret"}
    error = refused(api.SR.create, master(api), config, "0", "x", "", "small", "user", True, {})
    assert error[0] == "SR_BACKEND_FAILURE_47" and "/not/there" in error[2]
    assert (len(api.SR.get_all()), len(api.PBD.get_all()), len(api.secret.get_all())) == before


def test_passwords_become_secrets_one_for_each_pbd(three: LoopbackPool) -> None:
    api = log_in(three)
    sr = make_sr(api, three, cephx_password="of the storage")
    configs = [api.PBD.get_device_config(pbd) for pbd in api.SR.get_PBDs(sr)]
    secrets = [config["cephx_password_secret"] for config in configs]
    assert len(set(secrets)) == 3
    assert all("cephx_password" not in config for config in configs)
    assert {api.secret.get_value(api.secret.get_by_uuid(one)) for one in secrets} == {"of the storage"}
    for pbd in api.SR.get_PBDs(sr):
        api.PBD.unplug(pbd)
    api.SR.forget(sr)
    assert api.secret.get_all() == []


def test_a_shared_sr_is_plugged_on_every_host_its_master_told_so(three: LoopbackPool) -> None:
    api = log_in(three)
    sr = make_sr(api, three)
    assert [api.PBD.get_currently_attached(pbd) for pbd in api.SR.get_PBDs(sr)] == [True] * 3
    told = {
        name: [request["device_config"]["SRmaster"] for request in requests(host) if request["command"] == "sr_attach"]
        for name, host in three.hosts.items()
    }
    assert told == {"xen1": ["true"], "xen2": ["false"], "xen3": ["false"]}


def test_pbds(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    (pbd,) = api.SR.get_PBDs(sr)
    new = {"host": master(api), "SR": sr, "device_config": {}, "other_config": {}}
    assert refused(api.PBD.create, new)[0] == "PBD_EXISTS"
    assert refused(api.PBD.destroy, pbd) == ["OPERATION_NOT_ALLOWED", "PBD is currently attached"]
    assert refused(api.PBD.set_device_config, pbd, {})[0] == "RBAC_PERMISSION_DENIED"
    api.PBD.unplug(pbd)
    api.PBD.unplug(pbd)
    api.PBD.destroy(pbd)
    assert refused(api.VDI.create, vdi_record(sr)) == ["SR_HAS_NO_PBDS", sr]
    assert refused(api.PBD.create, {**new, "device_config": {"SRmaster": "true"}})[0] == "VALUE_NOT_SUPPORTED"
    again = api.PBD.create({**new, "device_config": {"path": str(pool.master.root / "storage")}})
    assert api.PBD.get_currently_attached(again) is False
    api.PBD.plug(again)


def test_refusals_of_srs_and_disks(api: Any, pool: LoopbackPool) -> None:
    assert refused(api.SR.create, master(api), {}, "0", "x", "", "rbd", "user", True, {}) == [
        "SR_UNKNOWN_DRIVER",
        "rbd",
    ]
    sr = make_sr(api, pool)
    vdi = api.VDI.create(vdi_record(sr))
    (local,) = api.SR.get_by_name_label("Local storage")
    there = api.VDI.create(vdi_record(local))
    assert refused(api.VDI.enable_cbt, there) == ["SR_OPERATION_NOT_SUPPORTED", local]
    assert refused(api.VDI.create, {**vdi_record(sr), "type": "nonsense"}) == ["FIELD_TYPE_ERROR", "type"]
    incomplete = vdi_record(sr)
    del incomplete["sharable"]
    assert refused(api.VDI.create, incomplete) == ["FIELD_TYPE_ERROR", "sharable"]
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, vdi))
    api.VM.start(vm, False, False)
    assert refused(api.VDI.destroy, vdi) == ["VDI_IN_USE", vdi, "destroy"]
    (pbd,) = api.SR.get_PBDs(sr)
    assert refused(api.PBD.unplug, pbd) == ["VDI_IN_USE", vdi]


def test_renaming_tells_the_driver(api: Any, pool: LoopbackPool) -> None:
    vdi = api.VDI.create(vdi_record(make_sr(api, pool)))
    api.VDI.set_name_label(vdi, "new name")
    assert commands(pool.master)[-1] == "vdi_update"
    assert api.VDI.get_name_label(vdi) == "new name"


def test_local_storage_keeps_files(api: Any, pool: LoopbackPool) -> None:
    (sr,) = api.SR.get_by_name_label("Local storage")
    vdi = api.VDI.create(vdi_record(sr))
    file = pool.master.dir / "sr" / f"{api.VDI.get_location(vdi)}.img"
    assert file.stat().st_size == 8 * MIB and file.stat().st_blocks == 0
    copy = api.VDI.clone(vdi, {})
    assert api.VDI.get_name_label(copy) == "disk"
    api.VDI.destroy(vdi)
    assert not file.exists()


def any_block_device() -> Path:
    """Only its presence counts: nothing is read from it or written to it."""
    names = (entry.name for entry in sorted(Path("/sys/class/block").iterdir()))
    return next(device for device in (Path("/dev") / name for name in names) if device.is_block_device())


def test_passthrough_finds_block_devices(api: Any, pool: LoopbackPool) -> None:
    folder = pool.master.root / "passthrough"
    folder.mkdir()
    sr = api.SR.create(master(api), {"location": "/passthrough"}, "0", "partitions", "", "udev", "disk", False, {})
    assert api.SR.get_VDIs(sr) == []
    (folder / "one").symlink_to(any_block_device())
    api.SR.scan(sr)
    (vdi,) = api.SR.get_VDIs(sr)
    assert api.VDI.get_location(vdi) == "/passthrough/one"
    api.VDI.set_name_label(vdi, "disk of xen1")
    assert refused(api.VDI.destroy, vdi) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    api.SR.scan(sr)
    assert [api.VDI.get_name_label(one) for one in api.SR.get_VDIs(sr)] == ["disk of xen1"]
    (folder / "one").unlink()
    api.SR.scan(sr)
    assert api.SR.get_VDIs(sr) == []


def test_null_references_are_opaque(api: Any) -> None:
    (pool_ref,) = api.pool.get_all()
    assert api.pool.get_default_SR(pool_ref) == NULL
    (sr,) = api.SR.get_by_name_label("Local storage")
    api.pool.set_default_SR(pool_ref, sr)
    assert api.pool.get_default_SR(pool_ref) == sr
