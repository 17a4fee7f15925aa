from __future__ import annotations

from pathlib import Path

import pytest

from shoal.clients.pins import PinChanged, Pins
from shoal.kit.errors import ShoalError


def test_first_use_is_remembered_and_a_change_refused(tmp_path: Path) -> None:
    path = tmp_path / "state" / "pins.json"
    Pins(path).check("certificate", "10.0.0.1", "sha256:aa")
    Pins(path).check("certificate", "10.0.0.1", "sha256:aa")
    Pins(path).check("certificate", "10.0.0.2", "sha256:bb")
    with pytest.raises(PinChanged) as raised:
        Pins(path).check("certificate", "10.0.0.1", "sha256:bb")
    assert "sha256:aa" in raised.value.details
    assert "sha256:bb" in raised.value.details
    assert str(path) in raised.value.resolution
    Pins(path).check("certificate", "10.0.0.1", "sha256:aa")  # the refused one was not remembered


@pytest.mark.parametrize("text", ["{", "[]", '{"certificate": []}', "\x00"])
def test_a_damaged_file_is_never_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pins.json"
    path.write_text(text)
    with pytest.raises(ShoalError, match="damaged"):
        Pins(path).check("certificate", "10.0.0.1", "sha256:aa")
    assert path.read_text() == text


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShoalError, match="cannot be used"):
        Pins(tmp_path / "file" / "pins.json").check("certificate", "10.0.0.1", "sha256:aa")
