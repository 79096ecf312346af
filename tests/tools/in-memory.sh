#!/usr/bin/env bash
# Runs a command whose temporary files, and whose /run, are in memory: nodes' disks and images are many small files, on
# which a disk's file system spends several times the CPU. They are gone when the command ends. Needs root that may mount,
# and 12 GiB of available memory; without them, the command runs as it is.
#
#   tests/tools/in-memory.sh COMMAND [WORD...]
set -euo pipefail

needed=$((12 << 20)) # KiB
available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
folder=${TMPDIR:-/tmp}/cloudroute-tests
if ((EUID != 0 || available < needed)) || ! mkdir -p "$folder" ||
  ! unshare --mount mount -t tmpfs tmpfs "$folder" 2>/dev/null; then
  exec "$@"
fi

export TMPDIR=$folder
# In a namespace mounts are seen by this command alone, and end with its last process.
exec unshare --mount bash -euo pipefail -c '
  mount -t tmpfs tmpfs "$TMPDIR"
  if [[ $(stat -f -c %T /run) != tmpfs ]]; then # in a container
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir /run/lock
  fi
  exec "$@"' "$0" "$@"
