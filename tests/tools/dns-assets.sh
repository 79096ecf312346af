#!/usr/bin/env bash
# Builds CoreDNS from Go modules into the cache of kube-assets.sh, for the tests that resolve names in a cluster. It has
# the plugins of the Corefile in cloudroute/lab/hosts/coredns.py alone: all of them would take five times as long.
# Needs Go; a minute the first time, nothing when it is there. Prints the folder.
#
# KUBEBUILDER_ASSETS, where set, is that folder: a coredns that it already has is not built.
set -euo pipefail

coredns=1.12.4
go_minor=24       # the oldest Go 1.x that it builds with
kubernetes=1.34.0 # by which the folder is called; see kube-assets.sh

out=${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/kube-$kubernetes}
if [[ -x $out/coredns ]]; then
  echo "$out"
  exit 0
fi

if ! command -v go >/dev/null; then
  echo "Go is missing: install Go 1.$go_minor or newer (https://go.dev/dl) to build coredns" >&2
  exit 1
fi
version=$(GOTOOLCHAIN=local go env GOVERSION)
minor=${version#go1.}
if ((${minor%%[!0-9]*} < go_minor)); then
  echo "$version is too old: install Go 1.$go_minor or newer (https://go.dev/dl) to build coredns" >&2
  exit 1
fi

export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

plugins=(ready errors cache kubernetes loadbalance forward) # in the order of CoreDNS's plugin.cfg, which is the queries'

echo "building coredns ..." >&2
{
  printf 'package main\n\nimport (\n\t"github.com/coredns/coredns/core/dnsserver"\n\t"github.com/coredns/coredns/coremain"\n'
  printf '\t_ "github.com/coredns/coredns/plugin/%s"\n' "${plugins[@]}"
  printf ')\n\nfunc main() {\n\tdnsserver.Directives = []string{'
  printf '"%s", ' "${plugins[@]}"
  printf '}\n\tcoremain.Run()\n}\n'
} >main.go
go mod init assets 2>/dev/null
go get "github.com/coredns/coredns@v$coredns" 2>/dev/null || go get "github.com/coredns/coredns@v$coredns"
go build -trimpath -ldflags "-s -w" -o coredns .
mv coredns "$out/coredns" # when whole: an interrupted build leaves nothing half
echo "$out"
