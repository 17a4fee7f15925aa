"""LOOKING: pool, hosts, storage VMs and Ceph become facts. Changes nothing; what cannot be seen says why."""

from shoal.observe.look import observe

__all__ = ["observe"]
