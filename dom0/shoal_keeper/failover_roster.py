"""Who belongs to the pool and where Ceph is asked: kept in a file, since a host that is cut off cannot look it up."""

import json
import os
from typing import Dict, NamedTuple, Tuple

from .observe import HOST_MARK, KIT_MARK, POOL_MARK, SR_TYPE, find_storage_vm, may_be_away

FILE = "/var/lib/shoal/failover.json"


class Place(NamedTuple):
    """A host: where it answers, where its Ceph clients may come from, and the machine of its monitor and OSDs.

    One with no machine, whose Ceph is somewhere else, gives a sign of life in Ceph by itself, if it takes part.
    """

    name: str
    address: str
    addresses: Tuple[str, ...]
    machine: str  # its storage VM; "" for none
    rests: bool = False  # is being serviced, and may be away
    takes_part: bool = False  # Shoal's kit is on it


class Roster(NamedTuple):
    own: str
    master: str
    hosts: Dict[str, Place]  # by uuid
    pools: Tuple[Tuple[str, str], ...]  # (pool, namespace) of each of Shoal's SRs; none where Shoal has set up nothing
    services: Tuple[str, ...]

    def is_watched(self) -> bool:
        """Whether there is anything to look after: an SR, and hosts that can be judged."""
        return bool(self.pools) and self.own in self.hosts and any(place.machine or place.takes_part for place in self.hosts.values())

    def beats(self, uuid: str) -> bool:
        """Whether the host shows that it lives by a lock in Ceph: no monitor and no OSD do it."""
        return self.hosts[uuid].takes_part and not self.hosts[uuid].machine

    def host_at(self, client: str) -> str:
        """uuid of the host that a Ceph client's address is of, "" for none of the pool's.

        So it is with one that two hosts have, as the record of an interface that is not plugged any more may say: to take
        either would be to fence the other.
        """
        address = client.rpartition(":")[0].strip("[]")
        found = [uuid for uuid, place in self.hosts.items() if address in place.addresses]
        return found[0] if len(found) == 1 else ""


def read(call, own) -> Roster:
    (pool,) = call("pool.get_all_records").values()
    hosts = call("host.get_all_records")
    addresses = {ref: {host["address"]} for ref, host in hosts.items()}
    for pif in call("PIF.get_all_records").values():
        if pif["host"] in addresses:
            addresses[pif["host"]] |= {address.split("/")[0] for address in [pif["IP"]] + pif.get("IPv6", []) if address}
    machines = _machines(call)
    places = {
        host["uuid"]: Place(
            host["name_label"],
            host["address"],
            tuple(sorted(addresses[ref])),
            machines.get(host["name_label"], ""),
            may_be_away(host),
            KIT_MARK in host["other_config"],
        )
        for ref, host in hosts.items()
    }
    pools, services = set(), set()
    is_marked = POOL_MARK in pool["other_config"] or any(
        host["uuid"] == own and KIT_MARK in host["other_config"] for host in hosts.values()
    )
    for config in shoals_configs(call).values() if is_marked else ():
        pools.add((config["pool"], config.get("namespace", "")))
        services |= {part.strip() for part in config["volumes"].split(",") if part.strip()}
    return Roster(own, hosts[pool["master"]]["uuid"], places, tuple(sorted(pools)), tuple(sorted(services)))


def shoals_configs(call):
    """device_config of each of Shoal's SRs, by the SR's ref."""
    srs = {ref for ref, sr in call("SR.get_all_records").items() if sr["type"] == SR_TYPE}
    pbds = call("PBD.get_all_records").values()
    configs = {pbd["SR"]: pbd["device_config"] for pbd in pbds if pbd["SR"] in srs}
    return {sr: config for sr, config in configs.items() if "volumes" in config and "pool" in config}


def _machines(call):
    """Host name → name of its storage VM, which is the name that the VM gives itself, too."""
    marked = {ref: vm for ref, vm in call("VM.get_all_records").items() if HOST_MARK in vm["other_config"]}
    found = {host: find_storage_vm(marked, host) for host in {vm["other_config"][HOST_MARK] for vm in marked.values()}}
    return {host: marked[ref]["name_label"] for host, ref in found.items() if ref is not None}


def load():
    """The last one that was kept; None when there is none, or it is damaged."""
    try:
        with open(FILE) as file:
            kept = json.load(file)
        hosts = {uuid: Place(each[0], each[1], tuple(each[2]), *each[3:]) for uuid, each in kept["hosts"].items()}
        pools = tuple((pool, namespace) for pool, namespace in kept["pools"])
        return Roster(kept["own"], kept["master"], hosts, pools, tuple(kept["services"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def save(roster):
    os.makedirs(os.path.dirname(FILE), exist_ok=True)
    with open(FILE + ".new", "w") as file:
        json.dump(roster._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(FILE + ".new", FILE)
