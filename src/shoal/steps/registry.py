"""Which step carries out which kind of action."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.steps import (
    ceph_back,
    ceph_clean,
    ceph_cluster,
    ceph_host,
    ceph_host_removal,
    ceph_image,
    ceph_mgrs,
    ceph_mons,
    ceph_namespace,
    ceph_osd,
    ceph_pool,
    ceph_settings,
    ceph_spare,
    ceph_upgrade,
    ceph_user,
    default_sr,
    disk_export,
    disk_import,
    disk_move,
    disk_removal,
    dom0_kit,
    host_enabled,
    host_left,
    host_mark,
    host_marks,
    host_restart,
    lvm_conf,
    osd_noout,
    osd_removal,
    partition,
    passthrough_sr,
    pbd_removal,
    pool_key,
    rbd_map,
    reboot_due,
    shared_sr,
    spec_edit,
    sr_on_host,
    storage_vm,
    storage_vm_off,
    storage_vm_ready,
    system_disk,
    toolstack,
    vm_away,
    vm_back,
    volume_client,
    volume_clients,
    volume_service,
    volume_services,
    volume_services_image,
)
from shoal.steps.destroy import default_sr as default_sr_gone
from shoal.steps.destroy import dom0_kit as dom0_kit_gone
from shoal.steps.destroy import keeper as keeper_gone
from shoal.steps.destroy import marks as marks_gone
from shoal.steps.destroy import partition as partition_gone
from shoal.steps.destroy import passthrough_sr as passthrough_sr_gone
from shoal.steps.destroy import pool_key as pool_key_gone
from shoal.steps.destroy import rbd_map as rbd_map_gone
from shoal.steps.destroy import shared_sr as shared_sr_gone
from shoal.steps.destroy import storage_vm as storage_vm_gone
from shoal.steps.destroy import toolstack as toolstack_gone
from shoal.steps.patience import patient
from shoal.steps.step import Step

_STEPS: Mapping[str, Step] = {
    "dom0_kit": dom0_kit,
    "pool_key": pool_key,
    "partition": partition,
    "passthrough_sr": passthrough_sr,
    "system_disk": system_disk,
    "storage_vm": storage_vm,
    "storage_vm_ready": storage_vm_ready,
    "toolstack": toolstack,
    "ceph_cluster": ceph_cluster,
    "ceph_host": ceph_host,
    "ceph_mons": ceph_mons,
    "ceph_mgrs": ceph_mgrs,
    "ceph_settings": ceph_settings,
    "ceph_osd": ceph_osd,
    "ceph_pool": ceph_pool,
    "ceph_namespace": ceph_namespace,
    "ceph_user": ceph_user,
    "volume_clients": volume_clients,
    "volume_service": volume_service,
    "volume_services": volume_services,
    "volume_client": volume_client,
    "ceph_image": ceph_image,
    "lvm_conf": lvm_conf,
    "rbd_map": rbd_map,
    "shared_sr": shared_sr,
    "default_sr": default_sr,
}

STEPS: Mapping[str, Step] = {kind: patient(step) for kind, step in _STEPS.items()}

# Work on single disks, asked for by name on the command line: no spec names them, so no plan of the pool does.
DISK_STEPS: Mapping[str, Step] = {
    "disk_import": patient(disk_import),
    "disk_export": patient(disk_export),
    "disk_move": patient(disk_move),
}

# A host that leaves service, and comes back: no spec asks for it.
HOST_STEPS: Mapping[str, Step] = {
    "reboot_due": patient(reboot_due),
    "ceph_spare": patient(ceph_spare),
    "host_mark": patient(host_mark),
    "host_left": patient(host_left),
    "host_enabled": patient(host_enabled),
    "vm_away": patient(vm_away),
    "sr_on_host": patient(sr_on_host),
    "osd_noout": patient(osd_noout),
    "storage_vm_off": patient(storage_vm_off),
    "host_restart": patient(host_restart),
    "storage_vm_ready": patient(storage_vm_ready),
    "ceph_back": patient(ceph_back),
    "ceph_clean": patient(ceph_clean),
    "vm_back": patient(vm_back),
}

# What leaves the pool is asked for by name, too, and then the spec's own plan goes on.
MEMBER_STEPS: Mapping[str, Step] = {
    **STEPS,
    "osd_removal": patient(osd_removal),
    "disk_removal": patient(disk_removal),
    "spec_edit": patient(spec_edit),
    "keeper_removal": patient(keeper_gone),
    "pbd_removal": patient(pbd_removal),
    "rbd_map_removal": patient(rbd_map_gone),
    "ceph_host_removal": patient(ceph_host_removal),
    "storage_vm_removal": patient(storage_vm_gone),
    "passthrough_sr_removal": patient(passthrough_sr_gone),
    "dom0_kit_removal": patient(dom0_kit_gone),
    "host_marks_removal": patient(host_marks),
}

# What `destroy` does, in the order in which it is done.
DESTROY_STEPS: Mapping[str, Step] = {
    "keeper": patient(keeper_gone),
    "default_sr": patient(default_sr_gone),
    "shared_sr": patient(shared_sr_gone),
    "rbd_map": patient(rbd_map_gone),
    "storage_vm": patient(storage_vm_gone),
    "passthrough_sr": patient(passthrough_sr_gone),
    "partition": patient(partition_gone),
    "dom0_kit": patient(dom0_kit_gone),
    "toolstack": patient(toolstack_gone),
    "pool_key": patient(pool_key_gone),
    "marks": patient(marks_gone),
}

UPGRADE_STEPS: Mapping[str, Step] = {
    "ceph_upgrade": patient(ceph_upgrade),
    "volume_services_image": patient(volume_services_image),
    "spec_edit": patient(spec_edit),
}
