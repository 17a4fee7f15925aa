"""A read-only look at Ceph in one round trip. Runs beside a monitor (librados is there), imported nowhere.

The arguments are ceph.conf, the administrator's keyring, and the images ("pool/name") to look at. Prints
{command: answer} and `errors` for what was refused or silent. The keys of users never leave this program.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 8
MON = ("status", "mon dump", "mgr dump", "osd dump", "osd metadata", "osd tree", "df", "config dump")
MGR = ("osd df", "orch host ls", "orch ls")
SECRET_SETTINGS = ("key", "password", "secret", "token")


def main() -> None:
    answers: dict[str, Any] = {}
    errors: dict[str, str] = {}
    thread = threading.Thread(target=ask, args=(answers, errors), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if thread.is_alive():
        errors["time"] = f"no answer within {TIMEOUT_S} s"
    json.dump({**answers, "errors": dict(errors)}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # librados may still be waiting for a manager that is not there


def ask(answers: dict[str, Any], errors: dict[str, str]) -> None:
    import rados  # only there

    settings = {
        "client_mount_timeout": "5",
        "rados_mon_op_timeout": "5",
        "rados_osd_op_timeout": "3",
        "log_to_stderr": "false",
    }
    conf, keyring, *images = sys.argv[1:]
    cluster = rados.Rados(conffile=conf, rados_id="admin", conf={**settings, "keyring": keyring})
    try:
        cluster.connect(timeout=5)
    except rados.Error as error:
        errors["connect"] = str(error)
        return
    for name in MON:
        keep(answers, errors, name, command(cluster.mon_command, name))
    keep(answers, errors, "auth ls", command(cluster.mon_command, "auth ls"), without_keys)
    keep(answers, errors, "ca", command(cluster.mon_command, "config-key get", key="shoal/ca.pem"), digest)
    for name in MGR:
        keep(answers, errors, name, command(cluster.mgr_command, name))
    if images:
        look_at_images(answers, errors, cluster, images)
    answers["namespaces"] = look_at_namespaces(cluster, answers.get("osd dump", {}).get("pools", []))


def look_at_images(answers: dict[str, Any], errors: dict[str, str], cluster: Any, images: list[str]) -> None:
    import rados
    import rbd

    found: dict[str, Any] = {}
    for name in images:
        pool, _, image = name.partition("/")
        try:
            with cluster.open_ioctx(pool) as ioctx, rbd.Image(ioctx, image, read_only=True) as opened:
                found[name] = {"size_bytes": opened.size(), "features": feature_names(opened.features(), vars(rbd))}
        except (rados.ObjectNotFound, rbd.ImageNotFound):
            continue
        except (rados.Error, rbd.Error) as error:
            errors[f"image {name}"] = str(error)
    answers["images"] = found


def look_at_namespaces(cluster: Any, pools: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By pool. A pool that cannot be read now is left out, and so are those after it: each would cost a time-out."""
    import rados
    import rbd

    found: dict[str, dict[str, Any]] = {}
    for pool in pools:
        if "rbd" not in pool.get("application_metadata", {}):
            continue
        try:
            with cluster.open_ioctx(pool["pool_name"]) as ioctx:
                found[pool["pool_name"]] = {"names": rbd.RBD().namespace_list(ioctx), "is_initialized": has_info(ioctx)}
        except (rados.Error, rbd.Error):
            break
    return found


def has_info(ioctx: Any) -> bool:
    """Whether RBD has tried out the pool once, and noted it there."""
    import rados

    try:
        ioctx.stat("rbd_info")
    except rados.ObjectNotFound:
        return False
    return True


def feature_names(features: int, constants: dict[str, Any]) -> list[str]:
    """As `rbd info` writes them: "exclusive-lock"."""
    prefix = "RBD_FEATURE_"
    named = {name[len(prefix) :]: bit for name, bit in constants.items() if name.startswith(prefix)}
    return sorted(
        name.lower().replace("_", "-") for name, bit in named.items() if isinstance(bit, int) and features & bit
    )


def command(send: Callable[[str, bytes], Any], prefix: str, **arguments: str) -> tuple[int, bytes, str]:
    """Exit code, output and what was said beside it."""
    try:
        code, out, said = send(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")
    except Exception as error:  # noqa: BLE001  librados has many, and each is told
        return 1, b"", f"{type(error).__name__}: {error}"
    return code, out, said


def keep(
    answers: dict[str, Any],
    errors: dict[str, str],
    name: str,
    answer: tuple[int, bytes, str],
    change: Callable[[bytes], Any] = json.loads,
) -> None:
    code, out, said = answer
    if code == 0:
        try:
            answers[name] = hide(change(out))
        except (ValueError, KeyError, TypeError) as error:
            errors[name] = f"not understood: {type(error).__name__}"
    elif name == "ca" and abs(code) == 2:
        answers[name] = ""  # there is none yet
    else:
        errors[name] = f"error {code}: {said}"


def without_keys(out: bytes) -> dict[str, dict[str, str]]:
    return {user["entity"]: user.get("caps", {}) for user in json.loads(out)["auth_dump"]}


def digest(out: bytes) -> str:
    """As sha256 of the file that the hosts have."""
    return hashlib.sha256(out).hexdigest()


def hide(answer: Any) -> Any:
    """`config dump` can hold passwords of other people's modules."""
    for item in answer if isinstance(answer, list) else []:
        if isinstance(item, dict) and str(item.get("name", "")).endswith(SECRET_SETTINGS) and "value" in item:
            item["value"] = ""
    return answer


if __name__ == "__main__":
    main()
