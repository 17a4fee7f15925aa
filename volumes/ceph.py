"""The one connection to Ceph: opened when first needed, kept, and made anew when it is broken. Every call is bounded.

It must not know what a volume is.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from typing import Any, Callable, Optional, TypeVar, Union

import rados
import rbd

from volumes.config import Config
from volumes.errors import ServiceError, ceph_away, from_ceph
from volumes.snap_ids import SnapIds

Result = TypeVar("Result")
log = logging.getLogger("volumes")

CONNECT_TIMEOUT_S = 5
OPERATION_TIMEOUT_S = 8
RETRY_AFTER_S = 1.0  # requests that come right after a failed attempt share its outcome
LOCK_TIMEOUT_S = 6
FAILURES = (OSError, rados.Error, rbd.Error)  # three families, none the child of another


class Ceph:
    def __init__(self, config: Config) -> None:
        self.snap_ids = SnapIds()
        self._config = config
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._pools: dict[tuple[Union[str, int], str], Any] = {}
        self._failed_at = float("-inf")
        self._failure = ""

    def with_pool(self, pool: str, namespace: str, work: Callable[[Any], Result], doing: str) -> Result:
        """Run `work(ioctx)`. A connection that Ceph has shut out is replaced and the work done once more."""
        return self._attempt(lambda: self._work_in(pool, namespace, work), doing)

    def find_pool_id(self, name: str) -> Optional[int]:
        found = self._connected().pool_lookup(name)
        return None if found is None else int(found)

    def pool_by_id(self, pool_id: int, namespace: str) -> Any:
        return self._pool(pool_id, namespace)

    def open_pool(self, pool_id: int, namespace: str) -> Any:
        """One of the caller's own, to be closed: what is set on it is so for nobody else."""
        ioctx = self._connected().open_ioctx2(pool_id)
        ioctx.set_namespace(namespace)
        return ioctx

    def command(self, **arguments: Any) -> Any:
        """The JSON that a monitor answers to a command."""
        return json.loads(self.order(**arguments))

    def order(self, **arguments: Any) -> bytes:
        """Have a monitor do something; what it says, which may be nothing."""

        def ask() -> bytes:
            request = json.dumps({**arguments, "format": "json"})
            code, output, status = self._connected().mon_command(request, b"", timeout=CONNECT_TIMEOUT_S)
            if code:
                raise rados.Error(f"monitor: {status or arguments['prefix']}", errno=abs(code))
            return bytes(output)

        return self._attempt(ask, str(arguments["prefix"]))

    def wait_for_newest_map(self) -> None:
        """Until this connection has the newest map of the OSDs."""
        self._attempt(lambda: self._connected().wait_for_latest_osdmap(), "the newest map of the OSDs")

    def fsid(self) -> str:
        return self._attempt(lambda: str(self._connected().get_fsid()), "fsid")

    def _attempt(self, work: Callable[[], Result], doing: str) -> Result:
        try:
            return work()
        except ServiceError:
            raise
        except FAILURES as error:
            if abs(getattr(error, "errno", 0) or 0) != errno.ESHUTDOWN:
                raise from_ceph(error, doing) from error
        # Blocklisted, or shut down under us: this connection never works again.
        self._drop()
        try:
            return work()
        except FAILURES as error:
            raise from_ceph(error, doing) from error

    def _work_in(self, pool: str, namespace: str, work: Callable[[Any], Result]) -> Result:
        """An ioctx stays with a pool that was renamed, and one that was deleted looks like an empty one. So what was
        found is worth something only if the pool of that name is still the same.
        """
        ioctx = self._pool(pool, namespace)
        try:
            found = work(ioctx)
        except (ServiceError, *FAILURES):
            if self.find_pool_id(pool) == ioctx.get_pool_id():
                raise
        else:
            if self.find_pool_id(pool) == ioctx.get_pool_id():
                return found
        with self._lock:
            self._pools = {key: kept for key, kept in self._pools.items() if key[0] != pool}
        return work(self._pool(pool, namespace))

    def _pool(self, pool: Union[str, int], namespace: str) -> Any:
        cluster = self._connected()
        with self._lock:
            ioctx = self._pools.get((pool, namespace))
            if ioctx is None:
                ioctx = cluster.open_ioctx2(pool) if isinstance(pool, int) else cluster.open_ioctx(pool)
                # In a full pool librados would wait for room, longer than any caller does. So the OSD answers: "no
                # space" to what needs some, and it still does what frees some.
                ioctx.set_osdmap_full_try()
                if namespace:
                    ioctx.set_namespace(namespace)
                self._pools[pool, namespace] = ioctx
            return ioctx

    def _connected(self) -> Any:
        if not self._lock.acquire(timeout=LOCK_TIMEOUT_S):
            raise ceph_away("another request is still connecting to Ceph")
        try:
            if self._cluster is None:
                if time.monotonic() - self._failed_at < RETRY_AFTER_S:
                    raise ceph_away(self._failure)
                self._cluster = self._connect()
            return self._cluster
        finally:
            self._lock.release()

    def _connect(self) -> Any:
        options = {
            "keyring": str(self._config.keyring),
            "client_mount_timeout": str(CONNECT_TIMEOUT_S),
            "rados_mon_op_timeout": str(OPERATION_TIMEOUT_S),
            "rados_osd_op_timeout": str(OPERATION_TIMEOUT_S),
            # An operation must count as late before it is given up: only late ones make librados ask for a newer map,
            # and without that it never learns that an OSD has come back under another address.
            "objecter_timeout": "3",
            "objecter_tick_interval": "1",
            "rbd_cache": "false",  # nothing here reads or writes data
            "log_to_stderr": "false",
            "log_file": "",
            "admin_socket": "",
        }
        cluster = rados.Rados(rados_id=self._config.user, conffile=str(self._config.ceph_conf), conf=options)
        try:
            cluster.connect()
        except FAILURES as error:
            cluster.shutdown()
            self._failed_at = time.monotonic()
            self._failure = f"no connection to Ceph as client.{self._config.user}: {error}"
            log.warning(self._failure)
            raise ceph_away(self._failure) from error
        log.info("connected to Ceph %s", cluster.get_fsid())
        return cluster

    def _drop(self) -> None:
        """Forget the connection. It is not closed: another thread may still be in it. A few sockets, rarely."""
        with self._lock:
            self._cluster = None
            self._pools.clear()
        log.warning("Ceph has shut this connection out (blocklisted?): connecting anew")
