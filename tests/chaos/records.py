"""Reads a witness's disk past the witness, its host and the driver: which of its records are there, and valid.

Sent as it is to a monitor's container, where librbd is: `python3 - CEPH_CONF KEYRING POOL IMAGE`.
"""

import json
import struct
import sys
import zlib

RECORD_BYTES = 4096
CHUNK_RECORDS = 1024
QUIET_RECORDS = 1024  # so many that are not valid, in a row, end the search, as in lab/witness/witness.c
HEAD = struct.Struct("<8sQQQ")  # magic, guest, number, time
MAGIC = b"SHOALWIT"


def is_valid(record, number):
    """Whether it is whole, and the one that belongs there."""
    if len(record) < RECORD_BYTES:
        return False
    magic, _, own, _ = HEAD.unpack_from(record)
    (crc,) = struct.unpack_from("<I", record, RECORD_BYTES - 4)
    return magic == MAGIC and own == number and crc == zlib.crc32(record[: RECORD_BYTES - 4])


def survey(read, size_bytes):
    """`read(offset, length)`: the highest record up to which all are valid, and the last valid one."""
    highest = last = offset = 0
    while offset < size_bytes and offset // RECORD_BYTES <= last + QUIET_RECORDS:
        chunk = read(offset, min(CHUNK_RECORDS * RECORD_BYTES, size_bytes - offset))
        for begin in range(0, len(chunk), RECORD_BYTES):
            number = (offset + begin) // RECORD_BYTES + 1
            if is_valid(chunk[begin : begin + RECORD_BYTES], number):
                last = number
                highest = number if highest == number - 1 else highest
        offset += CHUNK_RECORDS * RECORD_BYTES
    return {"highest": highest, "last": last}


def main():
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
