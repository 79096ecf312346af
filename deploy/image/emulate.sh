#!/usr/bin/env bash
# Runs a command for which the kernel executes programs of amd64 and of arm64, one of them by QEMU. Needs root and
# Debian's qemu-user-static.
#
#   deploy/image/emulate.sh COMMAND [WORD...]
#
# systemd registers QEMU at boot. Where there is no systemd, as in a container, this does it, in a mount of its own.
set -euo pipefail

exec unshare --mount bash -euo pipefail -c '
  exec 8<"$0" && flock 8 # others may be registering it
  handlers=/proc/sys/fs/binfmt_misc
  [[ -e $handlers/register ]] || mount -t binfmt_misc binfmt_misc "$handlers"
  for machine in aarch64 x86_64; do # Debian has no file for the machine that it runs on
    file=/usr/lib/binfmt.d/qemu-$machine.conf
    [[ ! -e $file || -e $handlers/qemu-$machine ]] || cat "$file" >"$handlers/register"
  done
  exec 8<&- "$@"' "$0" "$@"
