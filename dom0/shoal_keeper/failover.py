"""What to do about a host that died, or about being cut off: pure decisions.

Why it is safe however old a sight is, and however many keepers decide: docs/decisions/0018. In short: fence before all, claim
before each VM, look again before each start.
"""

from typing import Dict, FrozenSet, NamedTuple, Tuple

SUSPECT_S = 10.0  # so long a host must have been silent, whose monitor and OSDs Ceph has given up by its own time-outs
ISOLATED_S = 30.0  # so long without quorum and peers a host takes its own VMs' writes for refused
ABANDONED_S = 600.0  # so long a living host's keeper did nothing with a VM that it has in hand, and that could be started
RESTART_MARK = "shoal:restart"
CLAIM_MARK = "shoal:claim"

TAKE_LOCK, FENCE, CLAIM, TAKE_OVER, RESET, START, RELEASE, STOP_OWN, STOP_STRAY = (
    "take_lock", "fence", "claim", "take_over", "reset", "start", "release", "stop_own", "stop_stray",
)  # fmt: skip


class Peer(NamedTuple):
    """A host of the pool, this one included."""

    uuid: str
    beats: bool  # it answers on the network, or may not be judged
    in_quorum: bool  # its monitor takes part
    osds_up: bool  # any of its OSDs is up
    silent_s: float = 0.0  # since when it has not answered; 0 while it does
    free_memory_bytes: int = 0
    can_start: bool = True  # live and enabled
    beats_in_ceph: bool = False  # its keeper renews a lock there; only of hosts with neither monitor nor OSD
    lacks: FrozenSet[str] = frozenset()  # Shoal's SRs that are not plugged there
    rests: bool = False  # is being serviced: its keeper does nothing


class Guest(NamedTuple):
    """A VM with a disk on Shoal's SRs. `holders` are the Ceph clients that hold what it writes to: host and address with nonce.

    The host is known by the address; "" when it is none of the pool's. A client may outlive its VM, and its host.
    """

    uuid: str
    power_state: str
    resident_on: str  # uuid of a host, "" for none
    restarts: bool  # marked shoal:restart=true
    claim: str  # uuid of the host whose keeper has it in hand, "" for none
    holders: FrozenSet[Tuple[str, str]] = frozenset()
    priority: int = 0  # lower first
    memory_bytes: int = 0
    avoids: FrozenSet[str] = frozenset()  # hosts where it did not start a short while ago
    srs: FrozenSet[str] = frozenset()  # Shoal's SRs that its disks lie on
    claim_idle_s: float = 0.0  # since when it was seen off, claimed, and nothing done with it
    is_busy: bool = False  # something is being done with it or a disk of it, or another VM has one


class Lost(NamedTuple):
    """A VM that the pool says runs on a dead host; `hindrance` says why it stays down, "" where nothing does."""

    host: str
    vm: str
    name: str
    is_marked: bool
    hindrance: str


class Sight(NamedTuple):
    own: str
    has_quorum: bool  # a volume service reaches a quorum of monitors
    without_quorum_s: float  # and without an answer of any other host
    peers: Tuple[Peer, ...]
    guests: Tuple[Guest, ...]
    locks: Dict[str, str]  # failover locks in Ceph: dead host → host whose keeper holds it
    acknowledged: FrozenSet[str]  # clients that are fenced, as a service with the newest map of the OSDs says
    strays: Tuple[str, ...] = ()  # VMs that run here and, says the pool, do not
    clients: FrozenSet[Tuple[str, str]] = frozenset()  # that hold any other disk: host and address, as a guest's holders
    lost: Tuple[Lost, ...] = ()
    shut_out: Tuple[str, ...] = ()  # VMs that run here, and whose disks this host may not write to any more
    master: str = ""  # as the toolstack says that has answered
    silent: FrozenSet[str] = frozenset()  # Ceph pools that do not answer; VMs with a disk there are no guests
    waits_for_pool: bool = False  # this keeper has one of those VMs in hand
    stays_home: bool = False  # this host has just become the master: the others' toolstacks are about to restart


class Step(NamedTuple):
    """`about` is the host it is about, `vm` the VM; each is done only if it is still as the reason says."""

    kind: str
    reason: str
    about: str = ""
    vm: str = ""
    place: str = ""
    addresses: FrozenSet[str] = frozenset()


def is_dead(peer):
    """Three signs, since each alone fails for other reasons: a busy toolstack, a monitor that moves, a full disk.

    Where Ceph is not on the hosts, its keeper's own sign there stands for two of them.
    """
    lives = peer.beats or peer.in_quorum or peer.osds_up or peer.beats_in_ceph
    return not lives and peer.silent_s >= SUSPECT_S


def decide(sight) -> Tuple[Step, ...]:
    if not sight.has_quorum:
        if sight.without_quorum_s < ISOLATED_S:
            return ()
        mine = [guest for guest in sight.guests if guest.resident_on == sight.own and guest.power_state == "Running"]
        return tuple(Step(STOP_OWN, "no quorum: its writes are refused, or will be", vm=guest.uuid) for guest in mine)
    # A record may be wrong. One whose disk this host holds, and is not fenced from, runs nowhere else.
    strays = [vm for vm in sight.strays if vm not in _held_here(sight)]
    steps = [Step(STOP_STRAY, "the pool has it elsewhere", vm=vm) for vm in strays]
    steps += [Step(STOP_OWN, "this host is shut out from its disk", vm=vm) for vm in sight.shut_out]
    room = {peer.uuid: peer.free_memory_bytes for peer in sight.peers if peer.can_start and not is_dead(peer)}
    steps += _inherit(sight, room)
    for peer in sight.peers:
        if peer.uuid != sight.own and is_dead(peer):
            steps += _about(peer, sight)
    for guest in sorted(sight.guests, key=lambda guest: (guest.priority, guest.uuid)):
        if guest.claim == sight.own:
            steps += _go_on(guest, sight, room)
    return tuple(steps)


def after(sight, step) -> Sight:
    """What is known once a step is done, without a look: what Ceph has acknowledged, and what was won."""
    if step.kind == FENCE:
        return sight._replace(acknowledged=sight.acknowledged | step.addresses)
    if step.kind in (CLAIM, TAKE_OVER):
        guests = tuple(guest._replace(claim=sight.own) if guest.uuid == step.vm else guest for guest in sight.guests)
        return sight._replace(guests=guests)
    return sight


def _inherit(sight, room):
    """Claims of keepers that do nothing with them: their hosts are being serviced, or have left the pool.

    Or live, with a toolstack that hangs. Of those only what is off: what such a one was asked long ago it may do yet, and
    late it can start nothing twice, but could declare off what runs again.
    """
    keepers = {peer.uuid for peer in sight.peers if not peer.rests}
    others = [guest for guest in sight.guests if guest.claim not in ("", sight.own)]
    left = [guest for guest in others if guest.claim not in keepers]
    steps = [Step(TAKE_OVER, "whoever had claimed it rests, or has left", about=guest.claim, vm=guest.uuid) for guest in left]
    idle = [guest for guest in others if guest.claim in keepers and guest.claim_idle_s >= ABANDONED_S and _can_start(guest, sight, room)]
    why = "whoever has claimed it did nothing for %.0f minutes" % (ABANDONED_S / 60)
    return steps + [Step(TAKE_OVER, why, about=guest.claim, vm=guest.uuid) for guest in idle]


def _can_start(guest, sight, room):
    is_free = guest.power_state == "Halted" and not writers_of(guest, sight)
    return is_free and bool(_place(guest, sight, room))


def writers_of(guest, sight):
    """Clients that hold its disks and are not fenced."""
    return {(host, address) for host, address in guest.holders if address not in sight.acknowledged}


def _held_here(sight):
    return {
        guest.uuid
        for guest in sight.guests
        if any(host == sight.own and address not in sight.acknowledged for host, address in guest.holders)
    }


def _about(peer, sight):
    """Lead, fence, then claim. What is claimed goes on by itself, whoever leads by then."""
    leader = sight.locks.get(peer.uuid, "")
    if leader != sight.own:
        return [] if leader else [Step(TAKE_LOCK, "it is dead, and nobody leads", about=peer.uuid)]
    unfenced = unfenced_clients(peer.uuid, sight)
    if unfenced:
        return [Step(FENCE, "it is dead, and its clients hold disks", about=peer.uuid, addresses=unfenced)]
    steps = []
    for guest in sight.guests:
        is_here = guest.resident_on == peer.uuid and guest.power_state == "Running"
        if is_here and guest.restarts and not guest.claim:
            steps.append(Step(CLAIM, "its host is dead and fenced", about=peer.uuid, vm=guest.uuid))
        elif guest.claim == peer.uuid:
            steps.append(Step(TAKE_OVER, "whoever had claimed it is dead and fenced", about=peer.uuid, vm=guest.uuid))
    return steps


def unfenced_clients(host, sight):
    """Of all disks, not only of VMs that are recorded there: it may have begun to start one when it was cut off."""
    holders = sight.clients.union(*(guest.holders for guest in sight.guests))
    return frozenset(address for holder, address in holders if holder == host) - sight.acknowledged


def _go_on(guest, sight, room):
    """With the claim in hand: off by the records, then on, then let go. Never while somebody may still write."""
    dead = [peer.uuid for peer in sight.peers if is_dead(peer)]
    is_lost = guest.power_state == "Running" and guest.resident_on in dead
    writers = writers_of(guest, sight)
    if guest.power_state != "Halted" and not is_lost:
        # A host that is back answers before it says what runs there. What it was fenced from does not, or not for long.
        was_there = any(host == guest.resident_on for host, _ in guest.holders)
        is_doubtful = guest.power_state == "Running" and was_there and not writers
        return [] if is_doubtful else [Step(RELEASE, "it runs, or is not to", vm=guest.uuid)]
    for host in sorted({host for host, _ in writers if host in dead}):
        # The host that it was started on has died in its turn.
        addresses = frozenset(address for holder, address in writers if holder == host)
        return [Step(FENCE, "it is dead, and its clients hold a claimed disk", about=host, addresses=addresses)]
    if writers:
        return []  # a live client has the disk: not ours to end
    if is_lost:
        return [Step(RESET, "its host is dead and fenced", about=guest.resident_on, vm=guest.uuid)]
    place = _place(guest, sight, room)
    if not place:
        return []  # until there is memory, or its turn; the claim keeps it ours
    room[place] -= guest.memory_bytes
    return [Step(START, "it is off, and nobody holds its disks", vm=guest.uuid, place=place)]


def _place(guest, sight, room):
    """Where it is started now, "" for nowhere. A toolstack that restarts in the middle of a start may leave the disk mapped."""
    lacking = {peer.uuid for peer in sight.peers if peer.lacks & guest.srs}
    fitting = {uuid for uuid in room if room[uuid] >= guest.memory_bytes} - lacking
    if sight.stays_home and sight.own in fitting:
        fitting = {sight.own}  # and if it has just failed here, here again
    return min(fitting - guest.avoids, key=lambda uuid: (-room[uuid], uuid), default="")
