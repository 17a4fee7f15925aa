"""How often Ceph is asked by steps that run at the same time, and that what they share is never an old answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from shoal.clients.ssh import Completed
from shoal.plan.action import Action, Change
from shoal.steps import ceph_answers, ceph_host, ceph_osd, guest_unit
from shoal.steps.tools import Tools

HOSTS = ("xen1", "xen2", "xen3")
ADDRESSES = {host: f"10.77.0.2{host[-1]}" for host in HOSTS}


class Cluster:
    """An orchestrator that knows its first host, and OSDs as they are made. `asked` has all questions in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hosts = {name_of("xen1"): ADDRESSES["xen1"]}
        self.labels: list[str] = []
        self.osds: list[dict[str, Any]] = []

    async def text(self, argv: Sequence[str], **_more: object) -> str:
        self.asked.append(" ".join(argv))
        await asyncio.sleep(0)
        if [*argv[:2]] == ["orch", "host"] and argv[2] in ("add", "set-addr"):
            self.hosts[argv[3]] = argv[4]
        elif [*argv[:4]] == ["orch", "host", "label", "rm"]:
            self.labels.remove(argv[5])
        return f"answer to {' '.join(argv)}\n"

    async def command(self, argv: Sequence[str], **_more: object) -> object:
        self.asked.append(" ".join(argv))
        seen = {
            "osd dump": {"osds": [dict(osd) for osd in self.osds]},
            "osd metadata": [],
            "osd tree destroyed": {
                "nodes": [
                    {"type": "host", "name": name_of("xen2"), "children": [7]},
                ]
            },
            "orch host ls": [{"hostname": n, "addr": a, "labels": [*self.labels]} for n, a in self.hosts.items()],
        }[" ".join(argv)]
        await asyncio.sleep(0.01)  # it says what was when it was asked
        return seen


class StorageVm:
    """Its disk has an OSD's label after cephadm has prepared it, and the OSD is up once it is deployed."""

    def __init__(self, cluster: Cluster, host: str) -> None:
        self.name, self.cluster, self.host = f"storage VM of {host}", cluster, host
        self.label, self.prepared = "", tuple[str, ...]()

    async def run(self, argv: Sequence[str], *, input: bytes = b"", **_more: object) -> Completed:
        said = ""
        if argv[0] == "head":
            said = self.label
        elif guest_unit.LOOK in argv:
            said = "ActiveState=active\nResult=success\n" if self.prepared else "ActiveState=inactive\n"
        elif argv[0] == "systemd-run":
            self.prepared = tuple(argv[argv.index("/bin/sh") + 2 :])
            self.label = f"bluestore block device\nuuid-{self.host}\n"
            self.cluster.osds.append({"osd": 1, "uuid": f"uuid-{self.host}", "up": 0, "in": 1, "state": ["new"]})
        elif "deploy" in argv:
            assert b"answer to auth get osd.1" in input
            next(osd for osd in self.cluster.osds if osd["uuid"] == f"uuid-{self.host}")["up"] = 1
        return Completed(said, "", 0)

    async def write_file(self, _path: str, _data: bytes, *, mode: int = 0o644) -> None:
        assert mode in (0o600, 0o700)


def name_of(host: str) -> str:
    return f"shoal-storage-{host}"


def make_tools(cluster: Cluster) -> Tools:
    guests = {host: StorageVm(cluster, host) for host in HOSTS}

    class Connections:
        spec = SimpleNamespace(hosts=())

        async def ceph(self) -> Any:
            return cluster

        async def storage_vm(self, host: str) -> Any:
            return guests[host]

    return Tools(Connections(), lambda *_: None)  # type: ignore[arg-type]


async def carry_out(step: Any, tools: Tools, actions: Sequence[Action]) -> list[str]:
    async def one(action: Action) -> str:
        await step.apply(action, tools)
        return str(await step.verify(action, tools))

    async with asyncio.timeout(20):
        return await asyncio.gather(*(one(action) for action in actions))


def join(host: str) -> Action:
    settings = {"name": name_of(host), "address": ADDRESSES[host], "bootstrap_host": "xen1"}
    return Action("ceph_host", host, Change.CREATE, "", host, settings=settings)


def make_osd(host: str) -> Action:
    settings = {"name": name_of(host), "device": "/dev/xvdc", "method": "raw"}
    return Action("ceph_osd", f"{host}:1", Change.CREATE, "", host, settings=settings)


async def test_who_asks_while_the_question_is_under_way_gets_the_next_answer() -> None:
    cluster = Cluster()
    tools, ceph = make_tools(cluster), cluster
    first = asyncio.create_task(ceph_answers.fresh(tools, ceph, ["osd", "dump"]))  # type: ignore[arg-type]
    while not cluster.asked:  # noqa: ASYNC110  it is asked in a turn of the loop or two
        await asyncio.sleep(0)
    cluster.osds = [{"osd": 0}]
    later = [ceph_answers.fresh(tools, ceph, ["osd", "dump"]) for _ in range(5)]  # type: ignore[arg-type]
    assert await asyncio.gather(*later) == [{"osds": [{"osd": 0}]}] * 5
    assert await first == {"osds": []}
    assert cluster.asked == ["osd dump"] * 2
    cluster.osds = []
    assert await ceph_answers.fresh(tools, ceph, ["osd", "dump"]) == {"osds": []}  # type: ignore[arg-type]


async def test_what_stays_is_asked_for_once_and_not_shown() -> None:
    cluster = Cluster()
    tools = make_tools(cluster)
    found = await asyncio.gather(*(ceph_answers.once(tools, cluster, ["auth", "get", "x"]) for _ in range(3)))  # type: ignore[arg-type]
    assert {one.reveal() for one in found} == {"answer to auth get x"}
    assert cluster.asked == ["auth get x"]
    assert "answer" not in repr(tools.kept)


async def test_three_hosts_join_with_few_questions() -> None:
    cluster = Cluster()
    assert await carry_out(ceph_host, make_tools(cluster), [join(host) for host in HOSTS]) == ["", "", ""]
    assert cluster.hosts == {name_of(host): ADDRESSES[host] for host in HOSTS}
    assert cluster.asked.count("cephadm get-pub-key") == 1
    assert [asked for asked in cluster.asked if asked.startswith("orch host add")] == [
        f"orch host add {name_of(host)} {ADDRESSES[host]}" for host in HOSTS[1:]
    ]
    assert len(cluster.asked) <= 8


async def test_a_host_at_another_address_and_one_that_is_closed_are_put_right() -> None:
    cluster = Cluster()
    cluster.hosts, cluster.labels = {name_of("xen1"): "10.77.0.99"}, ["_no_schedule", "rack1"]
    assert await carry_out(ceph_host, make_tools(cluster), [join("xen1")]) == [""]
    assert (cluster.hosts, cluster.labels) == ({name_of("xen1"): ADDRESSES["xen1"]}, ["rack1"])


async def test_three_osds_come_to_be_with_few_questions() -> None:
    cluster = Cluster()
    tools = make_tools(cluster)
    assert await carry_out(ceph_osd, tools, [make_osd(host) for host in HOSTS]) == ["", "", ""]
    assert [osd["up"] for osd in cluster.osds] == [1, 1, 1]
    for once in ("auth get client.bootstrap-osd", "config generate-minimal-conf", "fsid"):
        assert cluster.asked.count(once) == 1
    assert "osd tree destroyed" not in cluster.asked  # none was
    assert len(cluster.asked) <= 3 * 8


async def test_a_killed_run_has_left_an_osd_that_is_only_to_be_started() -> None:
    cluster = Cluster()
    tools = make_tools(cluster)
    guest: Any = await tools.storage_vm("xen2")
    guest.label = "bluestore block device\nuuid-xen2\n"
    cluster.osds = [{"osd": 1, "uuid": "uuid-xen2", "up": 0, "in": 0, "state": ["exists"]}]
    assert await carry_out(ceph_osd, tools, [make_osd("xen2")]) == [""]
    assert not guest.prepared
    assert "osd in 1" in cluster.asked


async def test_the_id_of_a_destroyed_osd_is_taken() -> None:
    cluster = Cluster()
    tools = make_tools(cluster)
    cluster.osds = [{"osd": 7, "uuid": "0", "up": 0, "in": 0, "state": ["destroyed", "exists"]}]
    assert await carry_out(ceph_osd, tools, [make_osd("xen2")]) == [""]
    guest: Any = await tools.storage_vm("xen2")
    assert guest.prepared[-1] == "7"
