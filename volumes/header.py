"""An RBD image's header, asked directly: all of it in one round trip, without opening the image.

Opening an image takes about ten round trips, and librbd changes nothing without the exclusive lock, which a running
VM's host keeps. So the header is read as the key-value pairs that it is made of, and changed by the calls of the OSD's
`rbd` class that librbd and the kernel make themselves. Both are as stable as what lies on the disks.

Sources in Ceph: src/cls/rbd/cls_rbd.cc (keys, methods and their arguments), cls_rbd.h (cls_rbd_snap, cls_rbd_parent),
cls_rbd_types.cc (ParentImageSpec, ChildImageSpec). The tests compare what is read here with what `rbd` says.
"""

from __future__ import annotations

import dataclasses
import errno
from dataclasses import dataclass
from typing import Any, Mapping, Optional

import rados

from volumes.encoding import Reader, pack_i64, pack_map, pack_string, pack_struct, pack_u64
from volumes.errors import has_errno
from volumes.names import METADATA_PREFIX

KEYS_AT_ONCE = 1000  # OSDs answer with 1024 at most
LAYERING, EXCLUSIVE_LOCK, DATA_POOL = 1, 4, 128
CLONE_CHILD = 2  # among the "operation features"
OBJECT_ORDER = 22  # data objects of 4 MiB
IN_TRASH = 2  # kind of a snapshot that is only kept for its children
_METADATA = "metadata_" + METADATA_PREFIX


@dataclass(frozen=True)
class Parent:
    pool_id: int
    namespace: str
    image_id: str
    snap_id: int
    overlap_bytes: Optional[int]  # None: only snapshots still need the parent


@dataclass(frozen=True)
class Child:
    pool_id: int
    namespace: str
    image_id: str


@dataclass(frozen=True)
class Snapshot:
    id: int
    name: str
    size_bytes: int
    in_trash: bool
    overlap_bytes: Optional[int]  # so much of it is read from the parent where it has no data of its own
    children: tuple[Child, ...]

    @property
    def has_parent(self) -> bool:
        return self.overlap_bytes is not None


@dataclass(frozen=True)
class Header:
    image_id: str
    size_bytes: int
    order: int
    object_prefix: str
    data_pool_id: Optional[int]
    parent: Optional[Parent]
    last_snap_id: int  # of those that it has or had
    snapshots: dict[str, Snapshot]
    metadata: dict[str, str]  # ours, without the prefix


def header_object(image_id: str) -> str:
    return f"rbd_header.{image_id}"


def read(ioctx: Any, image_id: str) -> Optional[Header]:
    """The header, or None where there is none. More than a thousand keys are not read at one moment."""
    values: dict[str, bytes] = {}
    after = ""
    while True:
        try:
            page = _read_page(ioctx, header_object(image_id), after)
        except rados.ObjectNotFound:
            return None
        values.update(page)
        if len(page) < KEYS_AT_ONCE:
            return decode(image_id, values) if "size" in values else None
        after = max(page)


def _read_page(ioctx: Any, oid: str, after: str) -> dict[str, bytes]:
    with rados.ReadOpCtx() as operation:
        pairs, _ = ioctx.get_omap_vals(operation, after, "", KEYS_AT_ONCE)
        ioctx.operate_read_op(operation, oid)
        return {key: value or b"" for key, value in pairs}  # an empty value, such as a description, comes as None


def decode(image_id: str, values: dict[str, bytes]) -> Header:
    snapshots, metadata = [], {}
    for key, value in values.items():
        if key.startswith("snapshot_"):
            children = values.get("snap_children_" + key[len("snapshot_") :])
            snapshots.append(_decode_snapshot(value, _decode_children(children) if children else ()))
        elif key.startswith(_METADATA):
            metadata[key[len(_METADATA) :]] = value.decode()
    pool = values.get("data_pool_id")
    parent = values.get("parent")
    return Header(
        image_id=image_id,
        size_bytes=Reader(values["size"]).u64(),
        order=Reader(values["order"]).u8(),
        object_prefix=Reader(values["object_prefix"]).string(),
        data_pool_id=Reader(pool).i64() if pool else None,
        parent=_decode_parent(parent) if parent else None,
        last_snap_id=Reader(values["snap_seq"]).u64(),
        snapshots={snapshot.name: snapshot for snapshot in snapshots},
        metadata=metadata,
    )


def _decode_snapshot(value: bytes, children: tuple[Child, ...]) -> Snapshot:
    """cls_rbd_snap: written in the form of version 8 since every OSD is of Nautilus or later."""
    _, compat, fields = Reader(value).structure()
    if compat < 8:
        raise ValueError("a snapshot in a form older than Nautilus")
    snap_id, name, size_bytes = fields.u64(), fields.string(), fields.u64()
    fields.skip(1 + 8)  # protection, flags
    _, _, kind = fields.structure()
    fields.skip(8 + 4)  # time, number of children
    overlap_bytes = fields.u64() if fields.u8() else None
    return Snapshot(snap_id, name, size_bytes, kind.u32() == IN_TRASH, overlap_bytes, children)


def _decode_children(value: bytes) -> tuple[Child, ...]:
    reader = Reader(value)
    children = []
    for _ in range(reader.u32()):
        version, _, fields = reader.structure()
        pool_id, image_id = fields.i64(), fields.string()
        children.append(Child(pool_id, fields.string() if version >= 2 else "", image_id))
    return tuple(children)


def _decode_parent(value: bytes) -> Parent:
    version, _, fields = Reader(value).structure()
    if version < 2:
        raise ValueError("a parent in a form older than Nautilus")
    pool_id, namespace, image_id, snap_id = fields.i64(), fields.string(), fields.string(), fields.u64()
    return Parent(pool_id, namespace, image_id, snap_id, fields.u64() if fields.u8() else None)


def create(ioctx: Any, image_id: str, size_bytes: int, metadata: dict[str, str], data_pool_id: Optional[int]) -> None:
    """Make the header with its metadata in one step; rados.ObjectExists if there is one.

    The features are what the oldest dom0 kernel (4.19) can map: layering and exclusive-lock, and a pool for data.
    """
    features, prefix, rest = LAYERING | EXCLUSIVE_LOCK, f"rbd_data.{image_id}", b""
    if data_pool_id is not None:
        features, prefix, rest = (
            features | DATA_POOL,
            f"rbd_data.{ioctx.get_pool_id()}.{image_id}",
            pack_i64(data_pool_id),
        )
    request = pack_u64(size_bytes) + bytes([OBJECT_ORDER]) + pack_u64(features) + pack_string(prefix) + rest
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        operation.execute("rbd", "create", request)
        operation.execute("rbd", "metadata_set", _pack_metadata(metadata))
        ioctx.operate_write_op(operation, header_object(image_id))


def write_metadata(ioctx: Any, image_id: str, values: dict[str, Optional[str]]) -> None:
    """Set each key, or remove it where the value is None, all in one step."""
    with rados.WriteOpCtx() as operation:
        # Without this, writing to an image that was just removed would leave an object behind.
        operation.omap_cmp("object_prefix", b"", rados.LIBRADOS_CMPXATTR_OP_GT)
        _change_metadata(operation, values)
        ioctx.operate_write_op(operation, header_object(image_id))


def replace_metadata(ioctx: Any, image_id: str, key: str, old: str, new: Optional[str]) -> bool:
    """Change one key if it still has the value `old`; whether it had."""
    return write_metadata_if(ioctx, image_id, (key, old), {key: new})


def write_metadata_if(ioctx: Any, image_id: str, known: tuple[str, str], values: Mapping[str, Optional[str]]) -> bool:
    """As `write_metadata`, if the key `known` still has its value; whether it had."""
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp(_METADATA + known[0], known[1].encode(), rados.LIBRADOS_CMPXATTR_OP_EQ)
        _change_metadata(operation, values)
        return operate_if(ioctx, operation, header_object(image_id))


def operate_if(ioctx: Any, operation: Any, oid: str) -> bool:
    """Whether the operation's comparisons held, and so all of it was done."""
    try:
        ioctx.operate_write_op(operation, oid)
    except rados.ObjectNotFound:
        return False
    except rados.Error as error:
        if has_errno(error, errno.ECANCELED):
            return False
        raise
    return True


def grow(ioctx: Any, image_id: str, old_bytes: int, new_bytes: int) -> bool:
    """Change the size if it still is `old_bytes`; whether it was."""
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp("size", pack_u64(old_bytes), rados.LIBRADOS_CMPXATTR_OP_EQ)
        operation.execute("rbd", "set_size", pack_u64(new_bytes))
        return operate_if(ioctx, operation, header_object(image_id))


def add_snapshot(ioctx: Any, image_id: str, name: str, snap_id: int, metadata: dict[str, Optional[str]]) -> None:
    """With metadata, in one step. rados.ObjectExists if there is one of that name; ESTALE if a younger one was added
    meanwhile.
    """
    with rados.WriteOpCtx() as operation:
        operation.execute("rbd", "snapshot_add", pack_string(name) + pack_u64(snap_id))
        _change_metadata(operation, metadata)
        ioctx.operate_write_op(operation, header_object(image_id))


def trash_snapshot(ioctx: Any, image_id: str, snap_id: int) -> None:
    """From here on no child can be attached. rados.ObjectExists if that was so already."""
    ioctx.execute(header_object(image_id), "rbd", "snapshot_trash_add", pack_u64(snap_id), 16)


def remove_snapshot(ioctx: Any, image_id: str, snap_id: int) -> None:
    """rados.ObjectBusy while it has children."""
    ioctx.execute(header_object(image_id), "rbd", "snapshot_remove", pack_u64(snap_id), 16)


def attach_child(ioctx: Any, image_id: str, snap_id: int, child: Child) -> None:
    """rados.ObjectExists if it is attached; rados.ObjectNotFound if the snapshot is gone or in the trash."""
    ioctx.execute(header_object(image_id), "rbd", "child_attach", pack_u64(snap_id) + _pack_child(child), 16)


def detach_child(ioctx: Any, image_id: str, snap_id: int, child: Child) -> None:
    """rados.ObjectNotFound if it is not attached."""
    ioctx.execute(header_object(image_id), "rbd", "child_detach", pack_u64(snap_id) + _pack_child(child), 16)


def attach_parent(ioctx: Any, child: Header, parent: Parent, key: str) -> bool:
    """Make the image a child of the same size and remove that key of its metadata; whether it was done.

    It is not if the key or the size has changed since the header was read: whoever is late changes nothing of a clone
    that is finished.
    """
    size_bytes = parent.overlap_bytes or 0
    spec = pack_i64(parent.pool_id) + pack_string(parent.namespace) + pack_string(parent.image_id)
    request = pack_struct(1, 1, spec + pack_u64(parent.snap_id)) + pack_u64(size_bytes)
    if child.size_bytes < size_bytes:
        # Before, not with it: what is beyond the size is not read from the parent, and the class sees only the size
        # that there was before the step.
        with rados.WriteOpCtx() as operation:
            _compare(operation, child, key)
            operation.execute("rbd", "set_size", pack_u64(size_bytes))
            if not operate_if(ioctx, operation, header_object(child.image_id)):
                return False
        child = dataclasses.replace(child, size_bytes=size_bytes)
    with rados.WriteOpCtx() as operation:
        _compare(operation, child, key)
        if child.size_bytes != size_bytes:
            operation.execute("rbd", "set_size", pack_u64(size_bytes))
        operation.execute("rbd", "parent_attach", request)
        operation.execute("rbd", "op_features_set", pack_u64(CLONE_CHILD, CLONE_CHILD))
        _change_metadata(operation, {key: None})
        return operate_if(ioctx, operation, header_object(child.image_id))


def _compare(operation: Any, known: Header, key: str) -> None:
    """The rest is done only if the size and that key of the metadata are still what was read."""
    operation.omap_cmp(_METADATA + key, known.metadata[key].encode(), rados.LIBRADOS_CMPXATTR_OP_EQ)
    operation.omap_cmp("size", pack_u64(known.size_bytes), rados.LIBRADOS_CMPXATTR_OP_EQ)


def lower_overlap(ioctx: Any, image: Header, overlap_bytes: int) -> bool:
    """What is beyond that is read from the parent no more. Not done if a snapshot was added or the size has changed
    since the header was read; whether it was done. One that is lower already stays so.
    """
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp("snap_seq", pack_u64(image.last_snap_id), rados.LIBRADOS_CMPXATTR_OP_EQ)
        operation.omap_cmp("size", pack_u64(image.size_bytes), rados.LIBRADOS_CMPXATTR_OP_EQ)
        # The class lowers it with the size, which nobody sees smaller: it is one step.
        for size_bytes in (overlap_bytes, image.size_bytes):
            operation.execute("rbd", "set_size", pack_u64(size_bytes))
        return operate_if(ioctx, operation, header_object(image.image_id))


def detach_parent(ioctx: Any, image: Header) -> bool:
    """The image needs its parent no more (its snapshots may). Not done if a snapshot was added since the header was
    read; whether it was done. rados.ObjectNotFound if it has none.
    """
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp("snap_seq", pack_u64(image.last_snap_id), rados.LIBRADOS_CMPXATTR_OP_EQ)
        operation.execute("rbd", "parent_detach", b"")
        try:
            ioctx.operate_write_op(operation, header_object(image.image_id))
        except rados.Error as error:
            if has_errno(error, errno.ECANCELED):
                return False
            raise
    return True


def _pack_child(child: Child) -> bytes:
    return pack_struct(2, 1, pack_i64(child.pool_id) + pack_string(child.image_id) + pack_string(child.namespace))


def _pack_metadata(values: dict[str, str]) -> bytes:
    return pack_map({METADATA_PREFIX + key: value for key, value in values.items()})


def _change_metadata(operation: Any, values: Mapping[str, Optional[str]]) -> None:
    kept = {key: value for key, value in values.items() if value is not None}
    if kept:
        operation.execute("rbd", "metadata_set", _pack_metadata(kept))
    for key in [key for key, value in values.items() if value is None]:
        operation.execute("rbd", "metadata_remove", pack_string(METADATA_PREFIX + key))
