"""A program that is run is waited for as long as is said, also where it has children or does not end."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from dom0.tests.host import PYTHON

DOM0 = Path(__file__).parents[1]
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from shoal_dom0 import child
try:
    print(child.run(["sh", "-c", sys.argv[2]], float(sys.argv[3]), {"PATH": "/usr/bin:/bin", "WORD": "here"}))
except TimeoutError as error:
    print(error)
"""


def run(script: str, timeout_s: float) -> str:
    """On dom0's Python, whose subprocess is the oldest, where there is one."""
    argv = [PYTHON, "-IS", "-c", RUN, str(DOM0), script, str(timeout_s)]
    return subprocess.run(argv, stdout=subprocess.PIPE, timeout=20, check=True).stdout.decode().strip()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_status_output_and_complaints_are_told() -> None:
    assert run("echo $WORD; echo no >&2; exit 3", 10) == r"(3, b'here\n', b'no\n')"


def test_one_that_does_not_end_is_killed_with_its_children_and_not_waited_for(tmp_path: Path) -> None:
    """The child holds the output open: who reads that to its end waits for a minute."""
    began = time.monotonic()
    assert run(f"sleep 60 & echo $! > {tmp_path}/pid; sleep 60", 0.5) == "it did not end within 0 s"
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 2
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_one_that_has_left_its_group_is_not_waited_for_either() -> None:
    began = time.monotonic()
    assert run("setsid sleep 12 & sleep 60", 0.5) == "it did not end within 0 s"
    assert time.monotonic() - began < 10
