"""Work in a bounded number of threads: callers never wait longer than said, and a stuck process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from volumes.bounded import EXIT_STUCK, Workers
from volumes.errors import ServiceError

ROOT = Path(__file__).resolve().parents[2]


def test_a_result_and_an_error_come_back() -> None:
    workers = Workers(1, stuck_after_s=60)
    assert workers.run(lambda: 42, 5, "sum") == 42
    with pytest.raises(KeyError):
        workers.run(lambda: {}["x"], 5, "look")


def test_a_call_that_hangs_is_given_up_and_what_queued_behind_it_never_runs() -> None:
    workers = Workers(1, stuck_after_s=60)
    release, late = threading.Event(), []
    started = time.monotonic()
    with pytest.raises(ServiceError, match="hang: no answer from Ceph within 0.3 s"):
        workers.run(release.wait, 0.3, "hang")
    with pytest.raises(ServiceError, match="queued"):
        workers.run(lambda: late.append(1), 0.3, "queued")
    assert time.monotonic() - started < 2
    release.set()
    assert workers.run(lambda: "free again", 5, "next") == "free again"
    assert late == []


def test_a_process_with_a_stuck_call_ends() -> None:
    program = (
        "import threading; from volumes.bounded import Workers\n"
        "workers = Workers(2, stuck_after_s=0.4); workers.watch()\n"
        "try: workers.run(threading.Event().wait, 0.1, 'hang')\n"
        "except Exception: pass\n"
        "threading.Event().wait(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=20, capture_output=True, check=False)
    assert done.returncode == EXIT_STUCK
    assert b"stuck" in done.stderr
