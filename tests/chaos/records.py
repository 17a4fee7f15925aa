"""Reads a witness's disk past the witness, its host and the driver: which of its records are there, and valid.

Sent as it is to a monitor's container, where librbd is: `python3 - CEPH_CONF KEYRING POOL IMAGE`.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

RECORD_BYTES = 4096
CHUNK_RECORDS = 1024
QUIET_RECORDS = 1024  # so many that are not valid, in a row, end the search, as in lab/witness/witness.c
HEAD = struct.Struct("<8sQQQQQ")  # magic, guest, number, time, run, the run's first record
MAGIC = b"SHOALWIT"


def run_of(record: bytes, number: int) -> tuple[int, int] | None:
    """The run that wrote it, and that run's first record; None if it is not whole, or does not belong there."""
    if len(record) < RECORD_BYTES:
        return None
    magic, _, own, _, run, run_first = HEAD.unpack_from(record)
    (crc,) = struct.unpack_from("<I", record, RECORD_BYTES - 4)
    is_valid = magic == MAGIC and own == number and crc == zlib.crc32(record[: RECORD_BYTES - 4])
    return (run, run_first) if is_valid else None


def survey(read: Callable[[int, int], bytes], size_bytes: int) -> dict[str, Any]:
    """`read(offset, length)`: the highest record up to which all are valid, the last valid one, and the runs.

    Of each stretch of records of one run: the record that the run began with, and the stretch's first and last one.
    """
    highest = last = offset = 0
    runs: list[list[int]] = []
    last_run = None
    while offset < size_bytes and offset // RECORD_BYTES <= last + QUIET_RECORDS:
        chunk = read(offset, min(CHUNK_RECORDS * RECORD_BYTES, size_bytes - offset))
        for begin in range(0, len(chunk), RECORD_BYTES):
            number = (offset + begin) // RECORD_BYTES + 1
            if run := run_of(chunk[begin : begin + RECORD_BYTES], number):
                last = number
                highest = number if highest == number - 1 else highest
                if run != last_run:
                    runs.append([run[1], number, number])
                runs[-1][2], last_run = number, run
        offset += CHUNK_RECORDS * RECORD_BYTES
    return {"highest": highest, "last": last, "runs": runs}


def main() -> None:
    import rados
    import rbd

    conf, keyring, pool, image_name = sys.argv[1:]
    cluster = rados.Rados(conffile=conf, rados_id="admin", conf={"keyring": keyring})
    with cluster, cluster.open_ioctx(pool) as ioctx, rbd.Image(ioctx, image_name, read_only=True) as image:
        found = survey(image.read, image.size())
        if found["last"] > found["highest"]:
            # It is being written to: the last records of one chunk came between its reading and the next one's.
            found = survey(image.read, image.size())
        print(json.dumps(found))


if __name__ == "__main__":
    main()
