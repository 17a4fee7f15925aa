"""What travels with Shoal: complete, without tests, and known by its content."""

from __future__ import annotations

from shoal.kit.shipped import (
    DOM0_DRIVER,
    DOM0_KEEPER_UNIT,
    DOM0_MAPPER,
    DOM0_OUTSIDE,
    DOM0_PLUGIN,
    DOM0_RELAY_UNIT,
    DOM0_RUN,
    DOM0_UNITS,
    ShippedFile,
    digest,
    dom0_files,
    volume_service_files,
)


def test_the_kit_is_the_driver_the_keeper_and_their_packages() -> None:
    files = {file.path: file for file in dom0_files()}
    assert files[DOM0_DRIVER].mode == files[DOM0_PLUGIN].mode == 0o755
    assert files["/opt/shoal/dom0/shoal_dom0/driver.py"].mode == 0o644
    assert files["/opt/shoal/dom0/shoal_keeper/__main__.py"].mode == 0o644
    assert b"/opt/shoal/dom0/shoal_keeper/__main__.py" in files[DOM0_KEEPER_UNIT].data
    assert {DOM0_MAPPER, *DOM0_OUTSIDE} <= set(files)
    assert b"/opt/shoal/dom0/shoal_relay/__main__.py" in files[DOM0_RELAY_UNIT].data
    assert "/opt/shoal/dom0/shoal_relay/__main__.py" in files
    assert all(DOM0_MAPPER in files[unit].data.decode() for unit in DOM0_UNITS)
    assert not [path for path in files if "test" in path or path.endswith("probe.py")]


def test_the_relay_starts_and_ends_with_the_keeper_and_needs_no_place_of_its_own_at_boot() -> None:
    files = {file.path: file.data.decode() for file in dom0_files()}
    assert "\nWants=shoal-relay.service\n" in files[DOM0_KEEPER_UNIT]
    assert "\nPartOf=shoal-keeper.service\n" in files[DOM0_RELAY_UNIT]
    assert f"\nRuntimeDirectory={DOM0_RUN.rpartition('/')[2]}\n" in files[DOM0_RELAY_UNIT]
    assert "[Install]" not in files[DOM0_RELAY_UNIT]


def test_the_volume_service_has_its_entry_and_no_tests() -> None:
    paths = [file.path for file in volume_service_files()]
    assert "/opt/shoal/volumes/__main__.py" in paths
    assert not [path for path in paths if "/tests/" in path]


def test_a_digest_knows_places_and_contents_and_no_order() -> None:
    one, two = ShippedFile("/a", b"1"), ShippedFile("/b", b"2")
    assert digest([one, two]) == digest([two, one])
    assert len({digest([one]), digest([two]), digest([ShippedFile("/a", b"2")]), digest([one, two]), digest([])}) == 5
    assert digest([ShippedFile("/a", b"1", 0o755)]) == digest([one])
