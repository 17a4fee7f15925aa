"""What is wrong within a spec, although each of its values is well-formed. Pure; the pool is not asked."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from shoal.kit.sizes import GiB, format_size
from shoal.spec.model import UNUSED, UNUSED_HOST, Host, Spec
from shoal.spec.names import PARTITION_NAME_MAX, disk_name
from shoal.spec.problem import Problem
from shoal.spec.versions import image_problem, image_remedy

OSD_MIN_BYTES = 5 * GiB  # BlueStore starts on less, but has no room to live
IMAGE_MIN_BYTES = 4 * GiB  # of an SR of type lvm


def check(spec: Spec) -> tuple[Problem, ...]:
    own = (_addresses, _disks, _image, _replicas) if spec.ceph.existing is None else (_existing,)
    checks = (_hosts, *own, _srs, _images, _not_yet)
    return tuple(problem for one in checks for problem in one(spec))


def _hosts(spec: Spec) -> Iterator[Problem]:
    names = [host.name.lower() for host in spec.hosts]
    for index, first in _repeated(names):
        what = f"host {names[index]} stands here twice (first as hosts.{first})"
        yield Problem(what, "each host of the pool has one entry", f"hosts.{index}.name")
    for index, host in enumerate(spec.hosts):
        if len(disk_name(host.name, max(host.disk_numbers))) > PARTITION_NAME_MAX:
            what = "the name is too long: partitions are named after the host, and GPT has little room"
            yield Problem(what, "rename the host to 20 characters or fewer", f"hosts.{index}.name")


def _addresses(spec: Spec) -> Iterator[Problem]:
    lan = spec.network.public
    reserved = {lan.cidr.network_address: "the network itself", lan.cidr.broadcast_address: "the broadcast address"}
    if lan.gateway:
        reserved[lan.gateway] = "the gateway"
        if lan.gateway not in lan.cidr:
            yield Problem(
                f"{lan.gateway} is not in {lan.cidr}", "write an address of the network", "network.public.gateway"
            )
    addresses = [host.storage_vm.address for host in spec.hosts]
    for index, address in enumerate(addresses):
        where = f"hosts.{index}.storage_vm.address"
        if address not in lan.cidr:
            yield Problem(
                f"{address} is not in network.public.cidr {lan.cidr}", f"write a free address of {lan.cidr}", where
            )
        elif address in reserved:
            yield Problem(f"{address} is {reserved[address]}", f"write a free address of {lan.cidr}", where)
        elif spec.pool.url.removeprefix("https://").rstrip("/").split(":")[0] == str(address):
            yield Problem(f"{address} is the pool master's own address", f"write a free address of {lan.cidr}", where)
    for index, first in _repeated(addresses):
        what = f"{addresses[index]} is already the address of {spec.hosts[first].name}'s storage VM"
        yield Problem(what, f"write a free address of {lan.cidr}", f"hosts.{index}.storage_vm.address")


def _disks(spec: Spec) -> Iterator[Problem]:
    places = [(h, d) for h, host in enumerate(spec.hosts) for d in range(len(host.disks))]
    devices = [spec.hosts[h].disks[d].device for h, d in places]
    meant = [
        (device, host if _is_place_in_host(device) else -1) for device, (host, _) in zip(devices, places, strict=True)
    ]
    for index, first in _repeated(meant):
        (host, disk), (other, _) = places[index], places[first]
        where = f"hosts.{host}.disks.{disk}.device"
        if host == other:
            yield Problem("this disk stands here twice", "remove one of the two entries", where)
        else:
            what = f"{spec.hosts[other].name} names the same disk; two hosts must not use one disk"
            yield Problem(what, "name each host's own disk: ls -l /dev/disk/by-id there", where)
    for host, one in enumerate(spec.hosts):
        for index, first in _repeated(one.disk_numbers):
            what = f"disk {one.disk_numbers[index]} stands here twice (first as hosts.{host}.disks.{first})"
            yield Problem(what, "give each disk of a host a number of its own", f"hosts.{host}.disks.{index}.number")
    for host, disk in places:
        size = spec.hosts[host].disks[disk].size
        if size is not None and size < OSD_MIN_BYTES:
            what = f"{format_size(size)} is too small for an OSD"
            yield Problem(what, f"write {format_size(OSD_MIN_BYTES)} or more", f"hosts.{host}.disks.{disk}.size")


def _image(spec: Spec) -> Iterator[Problem]:
    why = image_problem(spec.ceph.image)
    if why:
        yield Problem(why, image_remedy(spec.ceph.image), "ceph.image")


def _is_place_in_host(device: str) -> bool:
    """Hosts of one model have such names alike, and other disks under them; but a disk of a network is one disk."""
    return device.startswith("/dev/disk/by-path/") and not re.search(r"ip-|iscsi|-fc-|fcoe|-sas-|nvme-of|-nbd", device)


def _replicas(spec: Spec) -> Iterator[Problem]:
    count, ceph = len(spec.hosts), spec.ceph
    if ceph.replicas > count:
        what = f"{ceph.replicas} replicas need {ceph.replicas} hosts, one for each copy, and there are {count}"
        yield Problem(what, f"add hosts, or write {count} or fewer", "ceph.replicas")
    if ceph.min_replicas > ceph.replicas:
        what = f"min_replicas {ceph.min_replicas} is more than replicas {ceph.replicas}: nothing could ever be written"
        yield Problem(what, f"write {max(ceph.replicas - 1, min(ceph.replicas, 2))}", "ceph.min_replicas")


def _existing(spec: Spec) -> Iterator[Problem]:
    """Of a cluster that is there already, what Shoal would do to it or for it has no place in the spec."""
    given = []
    for index, host in enumerate(spec.hosts):
        given += [f"hosts.{index}.{key}" for key in UNUSED_HOST if not _is_unused(host, key)]
    given += [key for key in UNUSED if not _is_unused(spec, key)]
    given += [f"ceph.{key}" for key in sorted(spec.ceph.model_fields_set - {"image", "existing"})]
    for where in given:
        yield Problem(
            "with ceph.existing there are no storage VMs, and Shoal does not keep the cluster", "leave it out", where
        )
    for index, sr in enumerate(spec.srs):
        if sr.type == "lvm":
            what = "an SR of type lvm on an existing cluster is not yet in this version"
            yield Problem(what, "use type rbd", f"srs.{index}.type")


def _is_unused(part: Host | Spec, key: str) -> bool:
    """Whether the model has it only because it must have something."""
    unused = (UNUSED_HOST if isinstance(part, Host) else UNUSED)[key]
    found = part.model_dump(mode="json", include={key})[key]
    return bool(_within(unused, found))


def _within(unused: object, found: object) -> bool:
    """Whether all that stands in place of a key is what is found there; defaults do not count."""
    if isinstance(unused, dict) and isinstance(found, dict):
        return all(_within(value, found.get(key)) for key, value in unused.items())
    if isinstance(unused, list) and isinstance(found, list):
        return len(unused) == len(found) and all(map(_within, unused, found))
    return str(found).endswith(str(unused))  # a path is relative to the spec


def _srs(spec: Spec) -> Iterator[Problem]:
    names, places = [sr.name for sr in spec.srs], [(sr.pool, sr.namespace) for sr in spec.srs]
    for index, _ in _repeated(names):
        yield Problem(f"SR {names[index]!r} stands here twice", "give each SR its own name", f"srs.{index}.name")
    for index, first in _repeated(places):
        pool, namespace = places[index]
        what = f"SR {names[first]!r} already uses the Ceph pool {pool!r}"
        if namespace:
            what = f"SR {names[first]!r} already uses the namespace {namespace!r} of the Ceph pool {pool!r}"
        yield Problem(what, "give each SR a pool or a namespace of its own", f"srs.{index}.{_key(namespace)}")
    for index, sr in enumerate(spec.srs):
        if sr.data_pool == sr.pool:
            what = f"{sr.pool!r} is the pool that the SR is in anyway"
            yield Problem(what, "leave it out, or name another pool", f"srs.{index}.data_pool")
    defaults = [index for index, sr in enumerate(spec.srs) if sr.default]
    for index in defaults[1:]:
        what = f"a pool has one default SR, and {names[defaults[0]]!r} is it already"
        yield Problem(what, "write default: true for one SR", f"srs.{index}.default")


def _key(namespace: str | None) -> str:
    return "namespace" if namespace else "pool"


def _images(spec: Spec) -> Iterator[Problem]:
    """An SR of type lvm lies on one image, one of type rbd makes an image for each disk."""
    smallest = format_size(IMAGE_MIN_BYTES).replace(" ", "")
    for index, sr in enumerate(spec.srs):
        where = f"srs.{index}.image_size"
        if sr.type == "rbd" and sr.image_size is not None:
            what = "an SR of type rbd has no image of its own: each disk is one"
            yield Problem(what, "leave it out, or write type: lvm", where)
        elif sr.type == "lvm" and sr.image_size is None:
            what = "an SR of type lvm lies on one image, and its size is missing"
            yield Problem(what, "add image_size, such as 4TiB; it is thin", f"srs.{index}.type")
        elif sr.image_size is not None and sr.image_size < IMAGE_MIN_BYTES:
            what = f"{format_size(sr.image_size)} is too small for an SR"
            yield Problem(what, f"write {smallest} or more", where)


def _not_yet(spec: Spec) -> Iterator[Problem]:
    """What the model knows, and this version cannot do."""
    for index, sr in enumerate(spec.srs):
        for key in ("namespace", "data_pool"):
            if sr.type == "lvm" and getattr(sr, key) is not None:
                what = f"a {key} of an SR of type lvm is not yet in this version"
                yield Problem(what, "leave it out, and give the SR a pool of its own", f"srs.{index}.{key}")
    if spec.network.cluster is not None:
        what = "a network of its own for replication is not yet in this version"
        yield Problem(what, "leave network.cluster out", "network.cluster")


def _repeated(values: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """(index of the repetition, index of the first) for each value that was there before."""
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value in first:
            yield index, first[value]
        first.setdefault(value, index)
