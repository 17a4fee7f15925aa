"""A pool, or a namespace of one, as one call works on it. It must not know what an image is for."""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol

from volumes.errors import not_found
from volumes.fences import Monitors
from volumes.snap_ids import SnapIds


class Pools(Monitors, Protocol):
    """What finds other pools and asks the monitors: the one connection to Ceph."""

    snap_ids: SnapIds

    def find_pool_id(self, name: str) -> Optional[int]: ...

    def pool_by_id(self, pool_id: int, namespace: str) -> Any: ...

    def open_pool(self, pool_id: int, namespace: str) -> Any: ...


class Pool:
    def __init__(self, ioctx: Any, pools: Pools, sweep_later: Callable[[str], None]) -> None:
        self.ioctx = ioctx  # where names, headers and metadata lie
        self.id: int = ioctx.get_pool_id()
        self.namespace: str = ioctx.get_namespace()
        self.sweep_later = sweep_later  # takes the id of an image that has something to be cleared up
        self.monitors: Monitors = pools
        self._pools = pools

    def find_data_pool(self, name: str) -> int:
        found = self._pools.find_pool_id(name)
        if found is None:
            raise not_found(f"pool {name}")
        return found

    def data_of(self, data_pool_id: Optional[int]) -> Any:
        """Where an image's data lie; its snapshots are numbered there."""
        if data_pool_id is None:
            return self.ioctx
        return self._pools.pool_by_id(data_pool_id, self.namespace)

    def data_as_of(self, data_pool_id: Optional[int], snap_id: Optional[int]) -> Any:
        """Where an image's data lie, to be read as they were at that snapshot, or as they are. To be closed."""
        ioctx = self._pools.open_pool(self.id if data_pool_id is None else data_pool_id, self.namespace)
        if snap_id is not None:
            ioctx.set_read(snap_id)
        return ioctx

    def new_snap_id(self, data_pool_id: Optional[int], above: int) -> int:
        """A number for a snapshot of an image with its data there, higher than that of its last one."""
        return self._pools.snap_ids.take(self.data_of(data_pool_id), above)
