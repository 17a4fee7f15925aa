"""Forgets that a machine's `noout` is its keeper's. Runs beside a monitor (librados is there), imported nowhere.

The arguments are ceph.conf, the administrator's keyring, the machine, and where a record may lie ("pool/namespace").
"""

import sys

RECORD = "shoal.noout"  # the volume service's: machine → until when
SETTINGS = {"client_mount_timeout": "5", "rados_mon_op_timeout": "5", "rados_osd_op_timeout": "10"}


def main() -> None:
    import rados  # only there

    conf, keyring, machine, *places = sys.argv[1:]
    cluster = rados.Rados(conffile=conf, rados_id="admin", conf={**SETTINGS, "keyring": keyring})
    cluster.connect(timeout=5)
    for place in places:
        pool, _, namespace = place.partition("/")
        try:
            ioctx = cluster.open_ioctx(pool)
            ioctx.set_namespace(namespace)
            with rados.WriteOpCtx() as operation:
                ioctx.remove_omap_keys(operation, (machine,))
                ioctx.operate_write_op(operation, RECORD)
        except rados.ObjectNotFound:
            continue  # no such pool, or no keeper has ever held anything there


if __name__ == "__main__":
    main()
