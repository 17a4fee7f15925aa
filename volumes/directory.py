"""The names of the images of a pool: rbd_directory, which is the truth, and an object rbd_id.<name> for each name,
which is where librbd and the kernel look first. And the trash, where images have no name.

In the directory a name changes in one step; the id objects follow, and what was cut short in between is mended by
whoever comes next. Sources in Ceph: src/cls/rbd/cls_rbd.cc (dir_*, set_id, trash_*),
src/librbd/operation/RenameRequest.cc, src/librbd/trash/MoveRequest.cc, cls_rbd_types.cc (TrashImageSpec).
"""

from __future__ import annotations

import contextlib
import secrets
import struct
import time
from typing import Any, Optional

import rados

from volumes.encoding import Reader, pack_string, pack_struct
from volumes.errors import ServiceError
from volumes.header import KEYS_AT_ONCE, operate_if
from volumes.names import NEW_PREFIX, base_name, is_ours, new_name, volume_name

DIRECTORY = "rbd_directory"
TRASH = "rbd_trash"
FULL_FORCE = 128  # LIBRADOS_OPERATION_FULL_FORCE, which librados has in C only
DIFFERS = 4095  # cmpext answers with this errno and above
_ID_BYTES = 7  # as many digits as librbd's own ids, which old kernels have room for
_TRIES = 5


def id_object(name: str) -> str:
    return f"rbd_id.{name}"


def find_id(ioctx: Any, name: str) -> Optional[str]:
    """The id of the image of that name, or None."""
    return _look_up(ioctx, "dir_get_id", name)


def find_name(ioctx: Any, image_id: str) -> Optional[str]:
    return _look_up(ioctx, "dir_get_name", image_id)


def _look_up(ioctx: Any, method: str, key: str) -> Optional[str]:
    try:
        _, answer = ioctx.execute(DIRECTORY, "rbd", method, pack_string(key), 512)
    except rados.ObjectNotFound:
        return None
    return Reader(answer).string()


def read_names(ioctx: Any) -> dict[str, str]:
    """Image id → name, of all images that are ours.

    Read by id, in pages: an id never changes, so an image that is renamed meanwhile is not missed. A volume whose
    image is replaced meanwhile could be, or be seen twice; its name is looked up once more.
    """
    names: dict[str, str] = {}
    after, read = "", 0
    while True:
        page = _read_page(ioctx, after)
        read += len(page)
        names.update((key[len("id_") :], Reader(value).string()) for key, value in page.items())
        if len(page) < KEYS_AT_ONCE:
            break
        after = max(page)
    names = {image_id: name for image_id, name in names.items() if is_ours(name)}
    return _settle_replaced(ioctx, names) if read >= KEYS_AT_ONCE else names  # one page is of one moment


def _read_page(ioctx: Any, after: str) -> dict[str, bytes]:
    with rados.ReadOpCtx() as operation:
        pairs, _ = ioctx.get_omap_vals(operation, after, "id_", KEYS_AT_ONCE)
        try:
            ioctx.operate_read_op(operation, DIRECTORY)
        except rados.ObjectNotFound:
            return {}
        return dict(pairs)


def _settle_replaced(ioctx: Any, names: dict[str, str]) -> dict[str, str]:
    seen: dict[str, list[str]] = {}
    for image_id, name in names.items():
        seen.setdefault(name, []).append(image_id)
    doubtful = {name for name, ids in seen.items() if len(ids) > 1}
    for name in seen:
        taken_over = volume_name(name[len(NEW_PREFIX) :])
        if name.startswith(NEW_PREFIX) and taken_over not in seen:
            doubtful.add(taken_over)
    settled = {image_id: name for image_id, name in names.items() if name not in doubtful}
    for name in doubtful:
        now = find_id(ioctx, name)
        if now is not None:
            settled[now] = name
    return settled


def claim(ioctx: Any, name: str) -> str:
    """The id of the image of that name; it gets one if it has none. Of several that try at once, all get the same."""
    for _ in range(_TRIES):
        image_id: Optional[str] = secrets.token_hex(_ID_BYTES)
        with rados.WriteOpCtx() as operation:
            operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
            operation.execute("rbd", "dir_add_image", pack_string(name) + pack_string(str(image_id)))
            try:
                ioctx.operate_write_op(operation, DIRECTORY)
            except rados.ObjectExists:
                image_id = find_id(ioctx, name)
        if image_id is not None:
            _give_id_object(ioctx, name, image_id)
            return image_id
    raise ServiceError(409, "in_use", f"the name {name} is being given and taken by others")


def _give_id_object(ioctx: Any, name: str, image_id: str) -> None:
    """As for a name that was given a moment ago. Whoever is late must not take the name back from an image that a
    revert has put in this one's place: so only what a deletion cut short has left is overwritten.
    """
    if _make_id_object(ioctx, name, image_id) or _pass_on(ioctx, name, image_id, image_id):  # the latter for its time
        return
    left = read_id_object(ioctx, name)
    if find_id(ioctx, name) != image_id:
        return
    if left is None:  # that deletion was just ended
        _make_id_object(ioctx, name, image_id)
    else:
        _pass_on(ioctx, name, left, image_id)


def _make_id_object(ioctx: Any, name: str, image_id: str) -> bool:
    """Unless there is one; whether there was none."""
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        operation.write_full(pack_string(image_id))
        try:
            ioctx.operate_write_op(operation, id_object(name), mtime=int(time.time()), flags=FULL_FORCE)
        except rados.ObjectExists:
            return False
    return True


def read_id_object(ioctx: Any, name: str) -> Optional[str]:
    try:
        answer = ioctx.read(id_object(name), 256)
    except rados.ObjectNotFound:
        return None
    return Reader(answer).string() if answer else None


def write_id_object(ioctx: Any, name: str, image_id: str) -> None:
    """Also in a full pool: a few bytes, without which nothing there could be deleted.

    With the time, from which `age_s` counts: librados would say 1970.
    """
    with rados.WriteOpCtx() as operation:
        operation.write_full(pack_string(image_id))
        ioctx.operate_write_op(operation, id_object(name), mtime=int(time.time()), flags=FULL_FORCE)


def remove_id_object(ioctx: Any, name: str, image_id: str) -> None:
    """Unless it is gone or stands for another image."""
    with rados.WriteOpCtx() as operation:
        operation.cmpext(pack_string(image_id), 0)
        operation.remove()
        operate_if_same(ioctx, operation, id_object(name))


def operate_if_same(ioctx: Any, operation: Any, oid: str, **more: int) -> bool:
    """Whether the object holds what the operation compares it with, and so it was done."""
    try:
        ioctx.operate_write_op(operation, oid, **more)
    except rados.ObjectNotFound:
        return False
    except rados.Error as error:
        if abs(getattr(error, "errno", 0) or 0) < DIFFERS:
            raise
        return False
    return True


def age_s(ioctx: Any, name: str) -> float:
    """How long ago the name was given. When that was cut short before it could be told, it counts from now on."""
    try:
        _, written = ioctx.stat(id_object(name))
    except rados.ObjectNotFound:
        image_id = find_id(ioctx, name)
        if image_id is not None:
            _make_id_object(ioctx, name, image_id)  # no more: its maker may go on, and the image be replaced
        return 0.0
    return max(0.0, time.time() - time.mktime(written))


def rename(ioctx: Any, image_id: str, old: str, new: str) -> None:
    write_id_object(ioctx, new, image_id)
    request = pack_string(old) + pack_string(new) + pack_string(image_id)
    try:
        ioctx.execute(DIRECTORY, "rbd", "dir_rename_image", request, 16)
    except (rados.Error, OSError):
        if find_name(ioctx, image_id) != new:
            remove_id_object(ioctx, new, image_id)
            raise
    remove_id_object(ioctx, old, image_id)


def replace(ioctx: Any, volume_id: str, old_id: str, new_id: str) -> bool:
    """The image new-<volume> becomes the volume, and the old one base-<id>, in one step; whether it was still to be
    done.

    Two of the class's calls in one operation would not see each other's effect, so the keys are written as they lie.
    """
    volume, new, base = volume_name(volume_id), new_name(volume_id), base_name(old_id)
    with rados.WriteOpCtx() as operation:
        operation.omap_cmp(f"name_{volume}", pack_string(old_id), rados.LIBRADOS_CMPXATTR_OP_EQ)
        operation.omap_cmp(f"name_{new}", pack_string(new_id), rados.LIBRADOS_CMPXATTR_OP_EQ)
        ioctx.remove_omap_keys(operation, (f"name_{new}",))
        pairs = {f"name_{volume}": new_id, f"id_{new_id}": volume, f"name_{base}": old_id, f"id_{old_id}": base}
        ioctx.set_omap(operation, tuple(pairs), tuple(pack_string(value) for value in pairs.values()))
        return operate_if(ioctx, operation, DIRECTORY)


def follow_replaced(ioctx: Any, volume_id: str, old_id: str, new_id: str) -> None:
    """The id objects, after `replace`. May be repeated, and by others at the same time.

    Whoever is late, so that yet another image has taken the place, must not give the name back: the kernel would map
    what is on its way out. So the name is passed on from the old image, in one step.
    """
    name, base = volume_name(volume_id), base_name(old_id)
    passed_on = _pass_on(ioctx, name, old_id, new_id)
    if not passed_on and read_id_object(ioctx, name) is None and find_id(ioctx, name) == new_id:
        _make_id_object(ioctx, name, new_id)
    if find_name(ioctx, old_id) == base:
        write_id_object(ioctx, base, old_id)
        if find_name(ioctx, old_id) != base:  # it was cleared away meanwhile
            remove_id_object(ioctx, base, old_id)
    remove_id_object(ioctx, new_name(volume_id), new_id)


def _pass_on(ioctx: Any, name: str, old_id: str, new_id: str) -> bool:
    """Make the name's object stand for another image, if it still stands for the old one; whether it did."""
    with rados.WriteOpCtx() as operation:
        operation.cmpext(pack_string(old_id), 0)
        operation.write_full(pack_string(new_id))
        return operate_if_same(ioctx, operation, id_object(name), mtime=int(time.time()), flags=FULL_FORCE)


def forget(ioctx: Any, image_id: str, name: str) -> None:
    """Take the name out of the directory."""
    with contextlib.suppress(rados.ObjectNotFound):
        ioctx.execute(DIRECTORY, "rbd", "dir_remove_image", pack_string(name) + pack_string(image_id), 16)
    remove_id_object(ioctx, name, image_id)


def move_to_trash(ioctx: Any, image_id: str, name: str) -> None:
    """First into the trash, then out of the directory: it is always to be found in one of them."""
    now = struct.pack("<II", int(time.time()), 0)
    spec = pack_struct(1, 1, bytes([0]) + pack_string(name) + now + now)  # by a user; may be removed from now on
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        operation.execute("rbd", "trash_add", pack_string(image_id) + spec)
        with contextlib.suppress(rados.ObjectExists):
            ioctx.operate_write_op(operation, TRASH, flags=FULL_FORCE)
    forget(ioctx, image_id, name)
