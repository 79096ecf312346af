#!/usr/bin/env bash
# Makes the bases of the image from Debian packages: what deploy/Dockerfile would install on debian:bookworm-slim, and
# less around it. For machines without a registry, and for a base whose every byte is known. Needs root and mmdebstrap;
# for another architecture than the machine's, emulate.sh.
#
#   deploy/image/base.sh FILE.tar ARCHITECTURE [PACKAGE...]
#
# Those packages come on top of the image's own. The same packages give the same bytes; SOURCE_DATE_EPOCH is the time of
# its files.
set -euo pipefail

out=$(realpath -m "${1:?where to: deploy/image/base.sh FILE.tar ARCHITECTURE}")
architecture=${2:?for what: amd64 or arm64}
shift 2
packages=(python3 nftables containernetworking-plugins usr-is-merged "$@")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}

# Nobody reads manuals in a container. The copyright files stay: whoever distributes the programs owes them.
options=()
for path in doc man info locale lintian; do
  options+=(--dpkgopt="path-exclude=/usr/share/$path/*")
done
options+=(--dpkgopt='path-include=/usr/share/doc/*/copyright')
# Of the CNI plugins only those that cloudroute's pods hang on. They call the node's iptables, nobody the image's.
options+=(--dpkgopt='path-exclude=/usr/lib/cni/*')
for plugin in ptp host-local loopback portmap bandwidth tuning; do
  options+=(--dpkgopt="path-include=/usr/lib/cni/$plugin")
done
iptables='chroot "$1" dpkg --purge --force-depends iptables'

# Compiled Python knows its source by its time, and all times are about to change: it would be compiled at each start.
compile='chroot "$1" python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.11'
logs='rm -rf "$1"/var/cache/ldconfig "$1"/var/cache/debconf "$1"/var/log/* "$1"/var/lib/dpkg/*-old'

# "essential" is Debian without apt: nothing can be added to it. Whoever wants newer packages builds anew. With /usr
# merged from the start, no program has to merge it: that one would bring 50 MB of Perl.
mmdebstrap --verbose --variant=essential --mode=root --format=tar --architectures="$architecture" \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --aptopt='APT::Install-Recommends "false"' "${options[@]}" --include="$(IFS=, && echo "${packages[*]}")" \
  --customize-hook="$iptables" --customize-hook="$compile" --customize-hook="$logs" \
  bookworm "$out.partial" >"$out.log" 2>&1 || { tail -n 40 "$out.log" >&2; exit 1; }
rm "$out.log"
mv "$out.partial" "$out"
