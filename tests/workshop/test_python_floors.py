"""Code that runs elsewhere keeps to the Python found there: 3.6 in dom0, 3.9 in the Ceph image."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop.sources import ROOT, python_files

FLOORS = {"dom0": (3, 6), "volumes": (3, 9)}


def shipped(folder: str) -> list[Path]:
    """The sources in a folder that are installed elsewhere; their tests run here."""
    return [path for path in python_files() if path.parts[0] == folder and "tests" not in path.parts]


def vermin(floor: tuple[int, int], paths: list[Path]) -> subprocess.CompletedProcess[str]:
    """Vermin knows which release brought each feature, module, member and keyword."""
    target = "-t={}.{}-".format(*floor)
    argv = [str(Path(sys.executable).with_name("vermin")), target, "--violations", "--no-tips", "--eval-annotations"]
    return subprocess.run([*argv, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("folder", FLOORS)
def test_shipped_code_runs_on_its_python(folder: str) -> None:
    paths = shipped(folder)
    assert paths, f"nothing in {folder}/ is tracked"
    done = vermin(FLOORS[folder], paths)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", FLOORS)
def test_shipped_code_parses_with_its_grammar(folder: str) -> None:
    for path in shipped(folder):
        ast.parse((ROOT / path).read_bytes(), filename=str(path), feature_version=FLOORS[folder])


@pytest.mark.parametrize(
    "source", ["if (n := 1): pass\n", "import dataclasses\n", "import subprocess\nsubprocess.run([], text=True)\n"]
)
def test_newer_code_is_found(source: str, tmp_path: Path) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text(source)
    done = vermin(FLOORS["dom0"], [newer])
    assert done.returncode == 1
    assert "newer.py" in done.stdout
