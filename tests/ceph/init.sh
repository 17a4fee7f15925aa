#!/bin/sh
# First process of the little cluster's own mount and process namespace: the Ceph tree read-only below, a scratch layer
# above. When it dies the kernel ends everything in it. Arguments: the Ceph tree, the scratch folder, the repository.
set -eu
lower=$1 scratch=$2 repository=$3
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root" "$scratch/ceph"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/run/ceph" "$root/opt/shoal" "$root/repository" "$root/scratch"
mount --bind "$repository" "$root/repository"
mount --bind "$scratch/ceph" "$root/scratch"
ln -sfn /repository/volumes "$root/opt/shoal/volumes"
touch "$scratch/ready"
while :; do
    sleep 3600 &
    wait $! || :
done
