"""Reading a spec from a file: sources of values, and never anything but a SpecError."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.kit.errors import SpecError
from shoal.kit.sizes import GiB
from shoal.spec.load import SpecMistakes, parse, read_spec
from shoal.spec.sources import Surroundings

BASE = (Path(__file__).parents[2] / "cases" / "base.yaml").read_text()
HERE = Surroundings(environ={"SHOAL_POOL_PASSWORD": "s3cret"})


def test_values_have_their_types() -> None:
    spec = parse(BASE, Path("shoal.yaml"), HERE).spec
    assert spec.pool.password.reveal() == "s3cret"
    assert spec.storage_vm.memory == 4 * GiB
    assert str(spec.hosts[2].disks[1].device).endswith("xen3-2")
    assert spec.ceph.osd_method == "lvm"


def test_a_secret_does_not_show() -> None:
    spec = parse(BASE, Path("shoal.yaml"), HERE).spec
    assert "s3cret" not in repr(spec) + str(spec)


def test_a_secret_from_a_file_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    file = tmp_path / "shoal.yaml"
    file.write_text(BASE.replace("{env: SHOAL_POOL_PASSWORD}", "{file: password}"))
    spec = read_spec(file).spec
    assert spec.pool.password.reveal() == "s3cret"
    assert spec.storage_vm.image == tmp_path / "storage-vm.img"


def test_an_empty_secret_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\n")
    file = tmp_path / "shoal.yaml"
    file.write_text(BASE.replace("{env: SHOAL_POOL_PASSWORD}", "{file: password}"))
    with pytest.raises(SpecMistakes, match="a mistake") as caught:
        read_spec(file)
    assert caught.value.lines[0].startswith(f"{file}:3:13: pool.password: {tmp_path}/password is empty")


def by_path(name: str) -> str:
    """Two hosts of one model, whose disks have the same name by their place."""
    text = BASE
    for host in ("xen1", "xen2"):
        text = text.replace(f"/dev/disk/by-id/scsi-SHOAL-{host}-1", f"/dev/disk/by-path/{name}")
    return text


@pytest.mark.parametrize("name", ["pci-0000:00:1f.2-ata-2", "pci-0000:00:07.0", "pci-0000:02:00.0-scsi-0:2:1:0"])
def test_hosts_of_one_model_have_disks_at_the_same_place(name: str) -> None:
    assert parse(by_path(name), Path("shoal.yaml"), HERE).spec.hosts[1].disks[0].device.endswith(name)


@pytest.mark.parametrize("name", ["pci-0000:05:00.0-fc-0x50060e80-lun-1", "ip-10.0.0.9:3260-iscsi-iqn.x-lun-0"])
def test_a_place_that_hosts_can_share_is_one_disk(name: str) -> None:
    with pytest.raises(SpecMistakes) as caught:
        parse(by_path(name), Path("shoal.yaml"), HERE)
    assert "xen1 names the same disk; two hosts must not use one disk" in caught.value.lines[0]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="cannot read the spec nowhere.yaml: No such file"):
        read_spec(Path("nowhere.yaml"))


def test_a_duplicate_key_does_not_show_its_value() -> None:
    text = BASE.replace("  password: {env: SHOAL_POOL_PASSWORD}", "  password: s3cret\n  password: s3cret")
    with pytest.raises(SpecMistakes) as caught:
        parse(text, Path("shoal.yaml"), HERE)
    assert caught.value.lines == ("shoal.yaml:4:3: password: this key stands here twice (remove one of them)",)
    shown = "".join(traceback.format_exception_only(caught.value))
    assert "s3cret" not in shown + caught.value.details
    assert caught.value.__suppress_context__


def test_settings_are_written_as_ceph_takes_them() -> None:
    text = BASE.replace("replicas: 3,", "replicas: 3, settings: {a: true, b: 0.1, c: 5, d: x},")
    assert parse(text, Path("x"), HERE).spec.ceph.settings == {"a": "true", "b": "0.1", "c": "5", "d": "x"}


@pytest.mark.filterwarnings("ignore::ruamel.yaml.error.ReusedAnchorWarning")
@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_is_a_spec_or_a_list_of_mistakes(data: st.DataObject) -> None:
    lines = BASE.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        start = data.draw(st.integers(0, len(lines[number])))
        end = data.draw(st.integers(start, len(lines[number])))
        scrap = data.draw(
            st.sampled_from(["", "null", "[]", "{}", "'", "- ", ": ", "&a ", "*a", "!!x ", "\t", "#", "é", "1e9"])
        )
        lines[number] = lines[number][:start] + scrap + lines[number][end:]
    try:
        parse("\n".join(lines), Path("shoal.yaml"), HERE)
    except SpecMistakes as mistakes:
        assert mistakes.lines
        assert all(line.startswith("shoal.yaml:") for line in mistakes.lines)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_at_all(text: str) -> None:
    with pytest.raises(SpecMistakes):
        parse(text, Path("shoal.yaml"), HERE)
