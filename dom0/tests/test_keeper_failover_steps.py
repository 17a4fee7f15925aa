"""Single decisions of failover: who is dead, what is claimed, fenced and started, and where."""

from __future__ import annotations

from dom0.shoal_keeper import failover
from dom0.shoal_keeper.failover import SUSPECT_S, Guest, Peer, Sight


def test_one_sign_of_life_is_enough() -> None:
    assert not failover.is_dead(Peer("a", beats=False, in_quorum=False, osds_up=True, silent_s=100))
    assert failover.is_dead(Peer("a", beats=False, in_quorum=False, osds_up=False, silent_s=SUSPECT_S))
    assert not failover.is_dead(Peer("a", beats=False, in_quorum=False, osds_up=False, silent_s=SUSPECT_S - 1))


def test_a_host_without_monitor_and_osd_lives_by_its_own_sign_in_ceph() -> None:
    silent = Peer("a", beats=False, in_quorum=False, osds_up=False, silent_s=SUSPECT_S, beats_in_ceph=True)
    assert not failover.is_dead(silent)
    assert failover.is_dead(silent._replace(beats_in_ceph=False))


def test_vms_start_by_priority_where_there_is_memory() -> None:
    peers = (
        Peer("a", True, True, True, free_memory_bytes=3),
        Peer("b", True, True, True, free_memory_bytes=4),
        Peer("dead", False, False, False, SUSPECT_S, free_memory_bytes=99),
    )
    guests = tuple(
        Guest(name, "Halted", "", True, "a", priority=priority, memory_bytes=memory_bytes)
        for name, priority, memory_bytes in (("late", 3, 2), ("large", 2, 4), ("first", 1, 3), ("small", 4, 1))
    )
    steps = failover.decide(Sight("a", True, 0.0, peers, guests, {"dead": "b"}, frozenset()))
    assert [(step.vm, step.place) for step in steps] == [("first", "b"), ("late", "a"), ("small", "a")]


def test_only_marked_vms_are_claimed() -> None:
    peers = (Peer("a", True, True, True), Peer("dead", False, False, False, SUSPECT_S))
    guests = (Guest("v", "Running", "dead", False, ""), Guest("w", "Running", "dead", True, ""))
    steps = failover.decide(Sight("a", True, 0.0, peers, guests, {"dead": "a"}, frozenset()))
    assert [(step.kind, step.vm) for step in steps] == [(failover.CLAIM, "w")]


def test_a_vm_whose_disk_a_live_client_holds_is_not_started() -> None:
    peers = (Peer("a", True, True, True), Peer("b", True, True, True))
    guest = Guest("v", "Halted", "", True, "a", holders=frozenset({("b", "192.0.2.1:0/7")}))
    sight = Sight("a", True, 0.0, peers, (guest,), {}, frozenset())
    assert failover.decide(sight) == ()
    (step,) = failover.decide(sight._replace(acknowledged=frozenset({"192.0.2.1:0/7"})))
    assert step.kind == failover.START


def test_a_vm_that_failed_on_one_host_is_tried_on_another() -> None:
    peers = tuple(Peer(name, True, True, True, free_memory_bytes=memory) for name, memory in (("a", 9), ("b", 5)))
    sight = Sight("a", True, 0.0, peers, (Guest("v", "Halted", "", True, "a", avoids=frozenset({"a"})),), {}, frozenset())
    assert [step.place for step in failover.decide(sight)] == ["b"]


def test_clients_that_hold_disks_of_no_vm_are_fenced_too() -> None:
    peers = (Peer("a", True, True, True), Peer("dead", False, False, False, SUSPECT_S))
    clients = frozenset({("dead", "192.0.2.1:0/7"), ("b", "192.0.2.2:0/8")})
    (step,) = failover.decide(Sight("a", True, 0.0, peers, (), {"dead": "a"}, frozenset(), clients=clients))
    assert (step.kind, step.addresses) == (failover.FENCE, {"192.0.2.1:0/7"})
