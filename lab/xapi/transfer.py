"""Disk content moved by a host: into a disk, out of it, from one to another. The host's side.

A disk is where its SM driver put it: in dom0 (then a small program there reads and writes it, see `sparse`), or, for
the SR type `ext` that the lab plays, a file on this machine. Zeros do not travel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lab.xapi import sparse
from lab.xapi.dom0 import Dom0, Stream
from lab.xapi.failure import Failure, internal_error
from lab.xapi.sparse import CHUNK, END, Chunk

PROGRAM = ("python3", "-c", Path(sparse.__file__).read_text())
ON_THIS_MACHINE = frozenset({"ext"})
Report = Callable[[float], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attached disk is: what its driver said to vdi_attach."""

    sr_type: str
    params: str
    size_bytes: int
    userdevice: str = ""
    writable: bool = False

    @property
    def is_in_dom0(self) -> bool:
        return self.sr_type not in ON_THIS_MACHINE


class Target(Protocol):
    """A disk that is being written."""

    def write(self, data: memoryview, offset: int) -> None:
        """Put bytes where they belong."""


@dataclass(slots=True)
class Job:
    """A copy under way."""

    progress: float = 0.0
    is_over: bool = False
    failure: list[str] | None = None


@dataclass(slots=True)
class Transfers:
    """What one host moves."""

    dom0: Dom0
    jobs: dict[str, Job] = field(default_factory=dict)

    @contextmanager
    def reading(self, place: Place, base: Place | None = None) -> Iterator[Iterator[Chunk]]:
        """The chunks of a disk; of what the base has not, if one is given."""
        if base is not None and base.is_in_dom0 != place.is_in_dom0:
            raise internal_error("the lab compares only disks that are both in dom0, or both of Local storage")
        if not place.is_in_dom0:
            with ExitStack() as opened:
                source = opened.enter_context(sparse.Disk(place.params))
                other = None if base is None else opened.enter_context(sparse.Disk(base.params))
                yield sparse.chunks(source, place.size_bytes, other)
            return
        words = ["read", place.params, str(place.size_bytes), *([base.params] if base else [])]
        with self._program(words) as stream:
            yield sparse.parse(_Filler(stream), place.size_bytes)

    @contextmanager
    def writing(self, place: Place) -> Iterator[Target]:
        """A disk to be written; what was given is on it when the context ends."""
        if not place.is_in_dom0:
            with sparse.Disk(place.params, writable=True) as target:
                yield target
                target.flush()
            return
        with self._program(["write", place.params, str(place.size_bytes)]) as stream:
            try:
                yield _Sink(stream)
            except BrokenPipeError:
                raise
            except (sparse.NoGood, Failure, OSError):
                with suppress(OSError):
                    stream.finish()  # what has come so far is on the disk
                raise
            stream.write(END)

    def start_copy(
        self, token: str, source: dict[str, Any], target: dict[str, Any], base: dict[str, Any] | None
    ) -> None:
        """Begin a copy; `copy_state` tells how far it is."""
        self.jobs[token] = job = Job()
        places = (Place(**source), Place(**target), Place(**base) if base else None)
        threading.Thread(target=self._run, args=(job, *places), name=f"copy {token}", daemon=True).start()

    def copy_state(self, token: str) -> dict[str, Any]:
        """Its fraction done, whether it is over and why it failed. Forgotten once it was told that it is over."""
        job = self.jobs.get(token)
        if job is None:
            raise internal_error("this host's toolstack was restarted: the copy is lost")
        if job.is_over:
            del self.jobs[token]
        return {"progress": job.progress, "is_over": job.is_over, "failure": job.failure}

    def _run(self, job: Job, source: Place, target: Place, base: Place | None) -> None:
        try:
            self.copy(source, target, base, lambda fraction: setattr(job, "progress", fraction))
        except Failure as failure:
            job.failure = failure.description
        except Exception as error:
            log.exception("copy")
            job.failure = internal_error(f"{type(error).__name__}: {error}").description
        job.is_over = True

    def copy(self, source: Place, target: Place, base: Place | None, report: Report) -> None:
        """All of it, or what the base has not. In dom0 alone where both are there."""
        size_bytes = source.size_bytes
        if source.is_in_dom0 and target.is_in_dom0 and (base is None or base.is_in_dom0):
            words = ["copy", source.params, target.params, str(size_bytes), *([base.params] if base else [])]
            with self._program(words) as stream:
                for done in _numbers(stream):
                    report(done / size_bytes)
            return
        with self.reading(source, base) as found, self.writing(target) as written:
            for offset, data in found:
                written.write(data, offset)
                report((offset + len(data)) / size_bytes)

    @contextmanager
    def _program(self, words: list[str]) -> Iterator[Stream]:
        """The program in dom0; what it says against it becomes a failure."""
        stream = self.dom0.open([*PROGRAM, *words])
        try:
            try:
                yield stream
            except (BrokenPipeError, _Ended) as error:
                raise internal_error(_why(stream) or str(error)) from error
            if why := _why(stream):
                raise internal_error(why)
        finally:
            stream.kill()


class _Ended(Exception):
    """The program said less than it should have."""


def _why(stream: Stream) -> str:
    """What the program ended with, "" if all went well."""
    done = stream.finish()
    return "" if done.code == 0 else done.stderr.strip()[-500:] or f"exit code {done.code}"


@dataclass(slots=True)
class _Filler:
    """Fills buffers from a stream."""

    stream: Stream

    def __call__(self, buffer: memoryview) -> None:
        have = 0
        while have < len(buffer):
            piece = self.stream.read(len(buffer) - have)
            if not piece:
                raise _Ended("the program in dom0 broke off")
            buffer[have : have + len(piece)] = piece
            have += len(piece)


@dataclass(frozen=True, slots=True)
class _Sink:
    stream: Stream

    def write(self, data: memoryview, offset: int) -> None:
        if data:
            self.stream.write(CHUNK.pack(offset, len(data)))
            self.stream.write(data)


def _numbers(stream: Stream) -> Iterator[int]:
    """The lines of a stream, each a number."""
    rest = b""
    while piece := stream.read(65536):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (int(line) for line in lines)
