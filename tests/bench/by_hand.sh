#!/bin/bash
# The yardstick of `make bench`: the Ceph part by hand, plain cephadm commands one after the other, on three storage VMs
# that are up. Prints the seconds of each stage as JSON.
#
#   by_hand.sh SSH_KEY ADDRESS ADDRESS ADDRESS      (run inside the lab's network)
set -euo pipefail

key=$1
shift
addresses=("$@")
first=${addresses[0]}
image=localhost/ceph:18.2.7
device=/dev/xvdc
options=(-i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
    -o BatchMode=yes -o ConnectTimeout=10)
stages=()

on() { # ADDRESS COMMAND…
    local address=$1
    shift
    ssh "${options[@]}" "root@$address" "$@"
}

ceph() { # in a container on the first storage VM: its host has no Ceph of its own
    on "$first" docker exec -i shell ceph "$@"
}

stage() { # NAME: ends the stage before it
    local now
    now=$(date +%s.%N)
    [ -z "${name:-}" ] || stages+=("\"$name\": $(awk "BEGIN {printf \"%.1f\", $now - $began}")")
    echo "$(date +%T) $1" >&2
    name=$1
    began=$now
}

wait_for() { # WHAT COMMAND… until it answers true; at most 10 minutes
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { echo "gave up waiting for $what" >&2; ceph -s >&2; exit 1; }
        sleep 1
    done
}

bootstrap() {
    on "$first" 'cat > /root/initial.conf' <<-END
	[global]
	mon_data_avail_warn = 5
	[mgr]
	mgr/cephadm/use_repo_digest = false
	[osd]
	osd_memory_target = 1073741824
	osd_memory_target_autotune = false
	END
    on "$first" cephadm --image "$image" bootstrap --mon-ip "$first" --config /root/initial.conf \
        --skip-dashboard --skip-monitoring-stack --skip-firewalld --skip-pull --orphan-initial-daemons >&2
    on "$first" docker run -d --name shell --net=host -v /etc/ceph:/etc/ceph --entrypoint sleep "$image" infinity >&2
}

add_host() { # ADDRESS
    ceph cephadm get-pub-key | on "$1" 'cat >> /root/.ssh/authorized_keys'
    ceph orch host add "$(on "$1" hostname)" "$1" >&2
}

is_true() { # TEXT of a JSON answer must match
    local wanted=$1
    shift
    "$@" | tr -d ' \n' | grep -q -- "$wanted"
}

for address in "${addresses[@]}"; do on "$address" systemctl is-system-running --wait >&2; done
stage bootstrap
bootstrap
stage hosts
for address in "${addresses[@]:1}"; do add_host "$address"; done
stage mons
names=()
for address in "${addresses[@]}"; do names+=("$(on "$address" hostname)"); done
ceph orch apply mon "$(IFS=,; echo "${names[*]}")" >&2
ceph orch apply mgr "${names[0]},${names[1]}" >&2
wait_for "three monitors" is_true '"quorum_names":\["[^]]*","[^]]*","[^]]*"\]' ceph quorum_status -f json
stage osds
for place in "${!addresses[@]}"; do
    ceph orch daemon add osd "${names[$place]}:$device" raw >&2
done
wait_for "three OSDs" is_true '"num_up_osds":3' ceph osd stat -f json
stage pool
ceph osd pool create rbd 32 >&2
ceph osd pool set rbd size 3 >&2
ceph osd pool set rbd min_size 2 >&2
ceph osd pool application enable rbd rbd >&2
wait_for HEALTH_OK is_true '"status":"HEALTH_OK"' ceph health -f json
stage done
(IFS=,; echo "{${stages[*]}}")
