"""Work in a bounded number of threads: callers never wait longer than said, and a stuck process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from volumes.bounded import EXIT_STUCK, Kind, Workers
from volumes.errors import ServiceError

ROOT = Path(__file__).resolve().parents[2]
SHORT = Kind("short", 1, timeout_s=5)
HURRIED = replace(SHORT, timeout_s=0.3)
LONG = Kind("long", 1, timeout_s=0.3, queue_s=5, late_code="too_long")


@pytest.fixture
def workers() -> Workers:
    return Workers((SHORT, LONG), stuck_after_s=60)


def test_a_result_and_an_error_come_back(workers: Workers) -> None:
    assert workers.run(lambda: 42, SHORT, "sum") == 42
    empty: dict[str, int] = {}
    with pytest.raises(KeyError):
        workers.run(lambda: empty["x"], SHORT, "look")


def test_a_call_that_hangs_is_given_up_and_what_queued_behind_it_never_runs(workers: Workers) -> None:
    release, late = threading.Event(), []
    started = time.monotonic()
    with pytest.raises(ServiceError, match="hang: no answer from Ceph within 0.3 s"):
        workers.run(release.wait, HURRIED, "hang")
    with pytest.raises(ServiceError, match="queued: this service is busy"):
        workers.run(lambda: late.append(1), HURRIED, "queued")
    assert time.monotonic() - started < 2
    release.set()
    assert workers.run(lambda: "free again", SHORT, "next") == "free again"
    assert late == []


def test_what_takes_long_keeps_only_its_like_waiting_and_that_has_its_whole_time_then(workers: Workers) -> None:
    release = threading.Event()
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(workers.run, release.wait, LONG, "first")
        second = callers.submit(workers.run, lambda: None, LONG, "second")
        assert workers.run(lambda: "short", SHORT, "short") == "short"
        refusal = first.exception()
        time.sleep(LONG.timeout_s)
        release.set()
        assert second.exception() is None
    assert isinstance(refusal, ServiceError) and refusal.code == "too_long"


def test_what_could_not_begin_may_be_asked_of_another_service(workers: Workers) -> None:
    release = threading.Event()
    with pytest.raises(ServiceError):
        workers.run(release.wait, LONG, "first")
    with pytest.raises(ServiceError, match="second: this service is busy") as busy:
        workers.run(lambda: None, replace(LONG, queue_s=0.1), "second")
    release.set()
    assert busy.value.code == "timeout"


def test_a_process_with_a_stuck_call_ends() -> None:
    program = (
        "import threading; from volumes.bounded import Kind, Workers\n"
        "kind = Kind('short', 2, timeout_s=0.1)\n"
        "workers = Workers((kind,), stuck_after_s=0.4); workers.watch()\n"
        "try: workers.run(threading.Event().wait, kind, 'hang')\n"
        "except Exception: pass\n"
        "threading.Event().wait(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=20, capture_output=True, check=False)
    assert done.returncode == EXIT_STUCK
    assert b"stuck" in done.stderr
