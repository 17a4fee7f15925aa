"""How soon Ceph notices that a host has died: a pure table, with what each value costs. Sources: docs/decisions/0024.

All in section `global`: monitors and OSDs must agree on the grace, and what a spec sets for one section wins.
"""

from __future__ import annotations

# A host that dies takes a monitor and its OSDs. I/O goes on when the others have a quorum again, two hosts' OSDs have
# missed its OSDs and told a monitor so, and the monitors have made a map without them: about grace + 4 s.
DETECTION = {
    # Pings go out every second or so, not every six, and five must be missed. They have their own connections: no
    # busy disk and no long queue of requests delays them. Two hosts must agree (that is Ceph's own default).
    "global/osd_heartbeat_interval": "1",
    "global/osd_heartbeat_grace": "5",
    # Ceph warns of slow pings at a twentieth of the grace. That is a second with its own grace, and stays one.
    "global/mon_warn_on_slow_ping_time": "1000",
    # What is missed is told to the monitors with the next report: every second, not every five.
    "global/osd_mon_report_interval": "1",
    # An OSD that was wrongly taken for dead before is given more time, up to three times the grace, not minutes.
    "global/mon_osd_laggy_max_interval": "5",
    # An OSD that was marked down more than five times in ten minutes ends for good: it exits cleanly, so nothing starts
    # it again. With a quarter of the grace a bad link gets there four times as soon.
    "global/osd_max_markdown_count": "20",
    # Monitors decide nothing for two leases after one of them has died, and then wait for its vote.
    "global/mon_lease": "2",
    "global/mon_election_timeout": "2",
    # An OSD that is connected to the dead monitor looks for another one: after 5 s, not 30.
    "global/mon_client_ping_interval": "2",
    "global/mon_client_ping_timeout": "5",
}
