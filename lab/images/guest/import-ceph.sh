#!/bin/sh
# Runs in the storage VM's tree while its image is made: put the Ceph image into Docker's own storage, so that no
# registry is asked for it. $1 is the image's name, the rest its environment as NAME=VALUE; its tree is at /ceph.
set -eu
name=$1
shift
for variable; do
    set -- "$@" --change "ENV $variable"
    shift
done

dockerd --bridge=none --iptables=false --ip6tables=false >/tmp/dockerd.log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 120 ] || { tail -n 20 /tmp/dockerd.log >&2; exit 1; }
    sleep 0.5
done
# The label is how `cephadm shell` knows a Ceph image that was loaded and not pulled.
tar --numeric-owner --xattrs -C /ceph -cf - . | docker import --change 'LABEL ceph=True' "$@" - "$name"
