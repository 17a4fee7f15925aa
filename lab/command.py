"""The one place where the lab starts child processes: `run` to the end, `Pipe` for streams, `start` for daemons.

A daemon is known by a pid file that also holds its start time, so that a recycled pid is never taken for it.
Must not know anything of hosts, images or networks.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")


class CommandError(Exception):
    """A child process failed, was not found, or took too long."""


@dataclass(frozen=True, slots=True)
class Completed:
    stdout: str
    stderr: str
    code: int


def inside(namespace: str | None, argv: Sequence[str | Path]) -> list[str]:
    """argv, run in a network namespace. nsenter, not `ip netns exec`: that would also make a mount namespace."""
    words = [str(word) for word in argv]
    if namespace is None:
        return words
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--", *words]


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    input: str | bytes | None = None,
    namespace: str | None = None,
    check: bool = True,
) -> Completed:
    """Run to the end. Raises CommandError when it cannot start, takes longer than timeout_s or (check) fails."""
    words = inside(namespace, argv)
    data = input.encode() if isinstance(input, str) else input
    try:
        # A session of its own: a time-out ends the whole group, not just the child.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CommandError(
            f"{words[0]} was not found; `lab/packages.txt` lists the packages that the lab needs"
        ) from error
    try:
        out, err = process.communicate(data, timeout=timeout_s)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandError(f"took longer than {timeout_s:g} s: {shlex.join(words)}") from error
        raise
    done = Completed(out.decode(errors="replace"), err.decode(errors="replace"), process.returncode)
    if check and done.code != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandError(f"exit code {done.code}: {shlex.join(words)}\n{said}")
    return done


class Pipe:
    """A child process with its input and output open, for data too big to hold. Killed when a step takes stall_s."""

    def __init__(self, argv: Sequence[str | Path], *, stall_s: float) -> None:
        self._words = [str(word) for word in argv]
        self._stall_s = stall_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `finish` or `kill`
        self._process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )

    def write(self, data: bytes | memoryview) -> None:
        """Raises BrokenPipeError when the child has ended: `finish` tells why."""
        assert self._process.stdin is not None
        with self._watched():
            self._process.stdin.write(data)

    def read(self, limit_bytes: int) -> bytes:
        """What the child says next, b"" at its end."""
        assert self._process.stdout is not None
        with self._watched():
            return os.read(self._process.stdout.fileno(), limit_bytes)

    def finish(self) -> Completed:
        """Close its input and wait for its end."""
        with self._watched():
            out, _ = self._process.communicate()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        self._errors.close()
        return Completed(out.decode(errors="replace"), said, self._process.returncode)

    def kill(self) -> None:
        """End it if it still runs. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        watchdog = threading.Timer(self._stall_s, self._process.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()


def start(argv: Sequence[str | Path], *, namespace: str | None = None, log: Path) -> int:
    """Start a daemon that outlives this process: own session, all output appended to `log`. Returns its pid."""
    words = inside(namespace, argv)
    if shutil.which(words[0]) is None:
        raise CommandError(f"{words[0]} was not found; `lab/packages.txt` lists the packages that the lab needs")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True
        )
    # Not ours to wait for: whoever stops it looks at /proc. Told to the garbage collector so that it does not warn.
    process.returncode = 0
    return process.pid


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process known by pid and start time (in clock ticks since boot, field 22 of /proc/PID/stat)."""

    pid: int
    started: int

    def is_running(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When a process started, or None if there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat[stat.rindex(")") + 2 :].split()
    return None if state in "ZX" else int(fields[18])


def record(pid_file: Path, pid: int) -> None:
    """Write down a started daemon, at once and whole."""
    started = start_time(pid)
    if started is None:
        raise CommandError(f"process {pid} ended right after it was started")
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = pid_file.with_name(f"{pid_file.name}.tmp.{os.getpid()}")
    temporary.write_text(f"{pid} {started}\n")
    temporary.replace(pid_file)


def recorded(pid_file: Path) -> Daemon | None:
    """The daemon of a pid file, if it runs."""
    try:
        pid, started = (int(word) for word in pid_file.read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    daemon = Daemon(pid, started)
    return daemon if daemon.is_running() else None


def stop(pid_file: Path, *, grace_s: float = 0.0, timeout_s: float = 10.0) -> None:
    """End the daemon of a pid file: SIGTERM and grace_s to obey, if any grace is given, then SIGKILL. Idempotent."""
    daemon = recorded(pid_file)
    if daemon is not None:
        if grace_s > 0:
            _signal(daemon, signal.SIGTERM)
            _wait_ended(daemon, grace_s)
        _signal(daemon, signal.SIGKILL)
        if not _wait_ended(daemon, timeout_s):
            raise CommandError(f"process {daemon.pid} did not end within {timeout_s:g} s of SIGKILL")
    pid_file.unlink(missing_ok=True)


def end_unrecorded(words: Sequence[str], pid_file: Path) -> None:
    """SIGKILL every process that has all these words on its command line and is not the one of the pid file.

    Such a process is left when whoever started it was killed before it could write the pid down.
    """
    known = recorded(pid_file)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = path.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        pid, started = int(path.parent.name), start_time(int(path.parent.name))
        if started is None or pid == os.getpid() or (known is not None and pid == known.pid):
            continue
        if all(word in argv for word in words):
            stray = Daemon(pid, started)
            _signal(stray, signal.SIGKILL)
            _wait_ended(stray, 10)


def _signal(daemon: Daemon, number: int) -> None:
    if daemon.is_running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, number)


def _wait_ended(daemon: Daemon, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while daemon.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
