"""Runs `shoal-lab` for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SPEC = ROOT / "examples" / "lab.yaml"
Run = Callable[..., subprocess.CompletedProcess[str]]  # the fixture `shoal`


def lab_cli(*words: str, timeout_s: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [BIN / "shoal-lab", *words], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode:
        pytest.fail(
            f"shoal-lab {' '.join(words)} gave {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done
