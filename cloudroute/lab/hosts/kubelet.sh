#!/usr/bin/env bash
# The first process of a machine of the lab: kubelet.py starts it in namespaces of network, mounts, processes, hostname.
#
#   kubelet.sh NAMESPACE NODE FOLDER [PATH...] -- KUBELET FLAG...
#
# PATHs are other files that it needs, besides FOLDER.
# It ends when its stdin is closed, or when containerd or the kubelet has ended. All the machine's processes, mounts and
# pods end with it, since they are in its namespaces.
set -euo pipefail

echo "$2" >/proc/sys/kernel/hostname
folder=$3
shift 3
kept=("$folder")
while [[ $1 != -- ]]; do
  kept+=("$1")
  shift
done
shift

# --- The machine's own mounts; the outer ones stay as they are -------------------------------------------------------

# /sys shows the devices of the namespace in which it was mounted. A new one has no cgroups: bind the outer ones to it.
exec {cgroups}</sys/fs/cgroup
mount -t sysfs sysfs /sys
mount --no-canonicalize --rbind "/proc/self/fd/$cgroups" /sys/fs/cgroup
exec {cgroups}<&-

# An open file descriptor still reaches a path after a mount has covered it.
opened=()
for path in "${kept[@]}"; do
  exec {file}<"$path"
  opened+=("$file")
done

# /var/lib and /var/log survive a reboot, /run does not. Nodes must not share host-local's leases in /var/lib/cni.
mkdir -p "$folder/lib" "$folder/log"
mount --bind "$folder/lib" /var/lib
mount -o remount,bind,exec /var/lib # FOLDER may be on a noexec /run
mount --bind "$folder/log" /var/log
mount -t tmpfs tmpfs /run

for path in "${kept[@]}"; do
  file=${opened[0]}
  opened=("${opened[@]:1}")
  if [[ ! -e $path ]]; then
    if [[ -d /proc/self/fd/$file ]]; then
      mkdir -p "$path"
    else
      mkdir -p "${path%/*}"
      touch "$path"
    fi
    mount --no-canonicalize --rbind "/proc/self/fd/$file" "$path"
  fi
  exec {file}<&-
done
rm -rf /var/lib/kubelet/pod-resources # its socket shows that the kubelet serves

# A kubelet sets these for the whole kernel. It finds the wanted values here, so the real ones stay unchanged.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  key=${setting%=*}
  mkdir -p "/run/sysctl/${key%/*}"
  echo "${setting#*=}" >"/run/sysctl/$key"
  mount --bind "/run/sysctl/$key" "/proc/sys/$key"
done

# --- Its daemons -----------------------------------------------------------------------------------------------------

# running PID NAME: whether the daemon runs; if not, print the end of its log.
running() {
  kill -0 "$1" 2>/dev/null && return
  echo "$2 ended:"
  tail -n 20 "/var/log/$2.log"
  return 1
} >&2

containerd --config "$folder/containerd.toml" </dev/null >>/var/log/containerd.log 2>&1 &
containerd=$!
until ctr version >/dev/null 2>&1; do
  running "$containerd" containerd
  sleep 0.05
done

"$@" </dev/null >>/var/log/kubelet.log 2>&1 &
kubelet=$!

# read returns 1 at the end of stdin, and more than 128 after its timeout of one second.
while running "$containerd" containerd && running "$kubelet" kubelet; do
  status=0
  read -rt 1 || status=$?
  if ((status == 1)); then
    kill "$kubelet"
    wait "$kubelet" || true
    kill "$containerd"
    wait "$containerd" || true
    exit 0
  fi
done
exit 1
