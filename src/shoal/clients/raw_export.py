"""The answer of xapi's raw disk export, written to a file that keeps the disk's holes.

xapi: `GET /export_raw_vdi?…` is the whole disk from its first byte to its last. It knows no ranges, often no length,
and says 200 before it has opened the disk. So the disk's own size tells whether all has come, and the task whether
it went well.
"""

from __future__ import annotations

import errno
import http.client
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from shoal.clients.https import ConnectionBroken, HttpsPool
from shoal.clients.raw_import import CHUNK_BYTES, SILENCE_TIMEOUT_S, without_zeros
from shoal.kit.errors import ShoalError


def receive_image(
    https: HttpsPool, path: str, target: Path, size_bytes: int, progress: Callable[[int, int], None]
) -> None:
    """Make the file anew and write the disk to it; blocking. When it returns, all of it is on this machine's disk.

    Its owner's alone, from the first byte on: what a VM has on its disk is in it.
    """
    try:
        target.unlink(missing_ok=True)  # an earlier run's with another mode, or somebody's link
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.truncate(size_bytes)
            _receive(https, path, file, size_bytes, progress)
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(target, error) from error


def _receive(
    https: HttpsPool, path: str, file: BinaryIO, size_bytes: int, progress: Callable[[int, int], None]
) -> None:
    connection = https.connect(SILENCE_TIMEOUT_S)
    try:
        response = _ask(connection, path)
        done = 0
        while data := _read(response):
            if done + len(data) > size_bytes:
                raise ConnectionBroken(f"more than the disk's {size_bytes} bytes came")
            for offset, piece in without_zeros(done, data):
                os.pwrite(file.fileno(), piece, offset)
            done += len(data)
            progress(done, size_bytes)
        if done < size_bytes:
            raise ConnectionBroken(f"it ended after {done} of {size_bytes} bytes")
    finally:
        connection.close()


def _ask(connection: http.client.HTTPSConnection, path: str) -> http.client.HTTPResponse:
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionBroken(str(error) or type(error).__name__) from error
    if response.status != http.HTTPStatus.OK:
        raise ConnectionBroken(f"HTTP {response.status} {response.reason}")
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionBroken(str(error) or type(error).__name__) from error


def _unwritable(target: Path, error: OSError) -> ShoalError:
    remedy = "Make room there, or name a file elsewhere." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return ShoalError(f"cannot write {target}: {error.strerror or error}", resolution=remedy)
