"""Runs inside the little Ceph: opens images as a kernel does, reads and writes them, and says what a pool really holds.

A JSON object a line in, one out. Each map is a client of its own that watches its image and, if it is writable, keeps the
image's lock. Python 3.9.
"""

import contextlib
import errno
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import rados
import rbd

sys.path.insert(0, "/repository")

from volumes import header, images  # noqa: E402
from volumes.pool import Pool  # noqa: E402

BLOCK_BYTES = 512
OBJECT = re.compile(r"rbd_(?:data|header|object_map)\.([0-9a-f]+)(?:\.|$)")


def connect():
    cluster = rados.Rados(
        conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring", "rados_osd_op_timeout": "30"}
    )
    cluster.connect()
    return cluster


def open_pool(cluster, pool, namespace):
    ioctx = cluster.open_ioctx(pool)
    ioctx.set_namespace(namespace)
    return ioctx


class Agent:
    def __init__(self):
        self._cluster = connect()
        self._maps = {}

    def map(self, token, pool, namespace, image, snap, exclusive):
        """The new client's id, or the error number that a kernel would give."""
        client = connect()
        ioctx = open_pool(client, pool, namespace)
        opened = None
        try:
            opened = rbd.Image(ioctx, image, snapshot=snap, read_only=not exclusive)
            if exclusive:
                opened.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
        except (rbd.Error, rados.Error) as error:
            if opened is not None:
                opened.close()
            ioctx.close()
            client.shutdown()
            return {"error": abs(getattr(error, "errno", 0) or errno.EIO)}
        self._maps[token] = (opened, ioctx, client)
        client_id = "client%d" % client.get_instance_id()
        return {"client": client_id, "address": client.get_addrs(), "image_id": opened.id()}

    def unmap(self, token):
        for part in self._maps.pop(token, ())[:2]:
            part.close()
        return {}

    def write(self, token, text):
        self._maps[token][0].write(text.encode().ljust(BLOCK_BYTES, b"\0"), 0)
        self._maps[token][0].flush()
        return {}

    def read(self, token):
        return {"text": self._maps[token][0].read(0, BLOCK_BYTES).rstrip(b"\0").decode()}

    def dump(self, pool, namespace):
        """Images with their snapshots, what is in the trash, and objects that belong to neither. An image that goes
        meanwhile is left out.
        """
        ioctx = open_pool(self._cluster, pool, namespace)
        images = {entry["id"]: entry["name"] for entry in rbd.RBD().list2(ioctx)}
        trash = {entry["id"]: entry["name"] for entry in rbd.RBD().trash_list(ioctx)}
        orphans = []
        for name in (found.key for found in ioctx.list_objects()):
            match = OBJECT.match(name)
            if match and match.group(1) not in images and match.group(1) not in trash:
                orphans.append(name)
            if name.startswith("rbd_id.") and name[7:] not in images.values():
                orphans.append(name)
        shown = []
        for image_id, name in sorted(images.items()):
            with contextlib.suppress(rbd.ImageNotFound):
                shown.append(self._describe(ioctx, image_id, name))
        return {"images": shown, "trash": sorted(trash.values()), "orphans": sorted(orphans)}

    def _describe(self, ioctx, image_id, name):
        with rbd.Image(ioctx, image_id=image_id, read_only=True) as image:
            try:
                parent = image.get_parent_image_spec()
            except rbd.ImageNotFound:
                parent = None
            found = header.read(ioctx, image_id)
            if found is None:
                raise rbd.ImageNotFound("image %s has just gone" % image_id)
            return {
                "id": image_id,
                "name": name,
                "size_bytes": image.size(),
                "metadata": found.metadata,  # librbd's own list loses empty values
                "snaps": [(snap["name"], snap["namespace"]) for snap in image.list_snaps()],
                "parent": parent and [parent["image_name"], parent["snap_name"]],
            }

    def fence(self, addresses):
        """As when a host is declared dead: Ceph takes nothing more from these clients."""
        for address in addresses:
            request = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": 3600.0}
            code, _, status = self._cluster.mon_command(json.dumps(request), b"")
            if code:
                raise RuntimeError(status)
        self._cluster.wait_for_latest_osdmap()
        return {}

    def fill(self, pool, disks, size_bytes, threads=8):
        """So many disks, made as the volume service makes them."""
        there = Pool(open_pool(self._cluster, pool, ""), None, lambda _: None)

        def make(disk):
            label = {"name_label": "disk " + disk, "name_description": "", "type": "user", "read_only": "false"}
            images.create(there, disk, size_bytes, label)

        with ThreadPoolExecutor(threads) as pool_of_threads:
            list(pool_of_threads.map(make, disks))
        return {"made": len(disks)}

    def put(self, pool, image, spots, block_bytes=65536):
        """Write a block at each of some offsets: a disk that is not empty."""
        with rbd.Image(open_pool(self._cluster, pool, ""), image) as opened:
            for spot in spots:
                opened.write(b"x" * block_bytes, spot)
        return {}


def main():
    agent = Agent()
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(agent, request.pop("do"))(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
