"""What one look at the pool shows a host's keeper, as plain values. No I/O here."""

from typing import FrozenSet, NamedTuple, Optional, Tuple

NULL = "OpaqueRef:NULL"


class Pool(NamedTuple):
    uuid: str
    is_marked: bool  # Shoal has set it up
    keeps_ceph: bool  # in storage VMs of its own; else its SRs lie on a cluster that somebody else looks after
    ha_enabled: bool
    is_master: bool  # this host is the pool's master
    apply_at_work: bool  # somebody runs `shoal apply` and shows signs of life


class Host(NamedTuple):
    ref: str
    uuid: str
    name: str
    enabled: bool
    told_to_rest: bool  # other_config shoal:maintenance
    may_be_away: bool = False  # and its VMs have left for that: failover rests, too


class Vm(NamedTuple):
    ref: str
    uuid: str
    name: str
    power_state: str
    resident_on: str  # NULL when it runs nowhere
    affinity: str  # NULL when it may run anywhere, or names a host that is gone
    is_busy: bool  # an operation on it is under way
    order: int = 0
    start_delay_s: int = 0
    started_at: float = 0.0  # by the clock; 0 when it does not run
    srs: Tuple[str, ...] = ()  # Shoal's SRs that its disks lie on
    is_complete: bool = True  # a storage VM: made to the end
    is_lost_here: bool = False  # it ran on this host when that went down, and has not been started since


class Check(NamedTuple):
    """What Ceph finds wrong with itself, in its words."""

    code: str
    message: str


class Osd(NamedTuple):
    id: int
    machine: str  # the storage VM that it is in


class Ceph(NamedTuple):
    """`silence` says why nobody could tell; "" when a volume service did."""

    silence: str
    fsid: str = ""
    monitors: Tuple[str, ...] = ()  # v1 addresses of all there are, in quorum or not
    health: str = ""
    checks: Tuple[Check, ...] = ()
    monitors_away: Tuple[str, ...] = ()  # machines whose monitor is not in the quorum
    osds_down: Tuple[Osd, ...] = ()  # in the cluster or out of it: Ceph itself stops telling of one that is out


class Pbd(NamedTuple):
    """This host's PBD of an SR that Shoal made."""

    ref: str
    uuid: str
    sr: str
    sr_name: str
    attached: bool
    monitors: Tuple[str, ...]
    fsid: str
    pool_silence: str = ""  # why its pool does not answer; "" when it does, or nobody needed to ask
    lacking: Tuple[str, ...] = ()  # names of other live hosts where the SR is not plugged yet


class LvmPbd(NamedTuple):
    """This host's PBD of an SR of type lvm that Shoal made. It is not plugged here: `map_images.py` does that."""

    sr: str
    sr_name: str
    attached: bool
    lacking: Tuple[str, ...] = ()


class LocalPbd(NamedTuple):
    ref: str
    uuid: str
    sr_name: str


class Seen(NamedTuple):
    uptime_s: float  # since this host's boot
    booted_at: float  # by the clock
    pool: Pool
    host: Host
    storage_vm: Optional[Vm]
    ceph: Ceph
    pbds: Tuple[Pbd, ...]
    unplugged: Tuple[LocalPbd, ...] = ()  # of the SRs that the disks of the storage VM lie on, while it is off
    vms: Tuple[Vm, ...] = ()  # marked to start, with disks on Shoal's SRs; looked for only while starts are owed
    under_way: Tuple[str, ...] = ()  # keys of actions that were begun and have not ended
    residents: Tuple[Tuple[str, float], ...] = ()  # VMs marked to start that run here, as the pool says; since when
    resting: Tuple[str, ...] = ()  # names of hosts that are being serviced; looked for by the master's keeper alone
    hanging: Tuple[str, ...] = ()  # of what is under way, what has not ended for too long
    lvm_pbds: Tuple[LvmPbd, ...] = ()  # looked for only while starts are owed


class Action(NamedTuple):
    kind: str  # start_storage_vm, start_vm, refresh, plug
    key: str  # the same for each try
    ref: str
    name: str
    reason: str
    place: str = ""  # the host to start on; "" for any
    vm: str = ""  # uuid
    sr: str = ""
    monitors: Tuple[str, ...] = ()


class Trouble(NamedTuple):
    """What a person must see to, if it lasts for `patience_s`. The name is that of the message in XenAPI."""

    name: str
    body: str
    patience_s: float = 0.0
    of_pool: bool = False


class Decision(NamedTuple):
    actions: Tuple[Action, ...]
    why: str  # one sentence; of what is done, or why nothing is
    troubles: Optional[Tuple[Trouble, ...]] = ()  # None: not judged now, so what was told stays told
    unjudged: FrozenSet[str] = frozenset()  # names of troubles of the pool of which the same holds
    is_settled: bool = False  # nothing is under way or waited for: there is no hurry to look again
