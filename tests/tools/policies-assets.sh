#!/usr/bin/env bash
# Builds kube-network-policies from its Go module into the cache of kube-assets.sh, for tests/policies.
# Needs Go; minutes the first time, nothing when it is there. Prints the folder.
#
# KUBEBUILDER_ASSETS, where set, is that folder: an enforcer that it already has is not built.
set -euo pipefail

policies=1.1.1    # the version of deploy/chart/values.yaml
go_minor=26       # the oldest Go 1.x that it builds with
kubernetes=1.34.0 # by which the folder is called; see kube-assets.sh

here=$(dirname "$(realpath "$0")")
out=${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/kube-$kubernetes}
if [[ -x $out/netpol ]]; then
  echo "$out"
  exit 0
fi

if ! command -v go >/dev/null; then
  echo "Go is missing: install Go 1.$go_minor or newer (https://go.dev/dl) to build kube-network-policies" >&2
  exit 1
fi
version=$(GOTOOLCHAIN=local go env GOVERSION)
minor=${version#go1.}
if ((${minor%%[!0-9]*} < go_minor)); then
  echo "$version is too old: install Go 1.$go_minor or newer (https://go.dev/dl) to build kube-network-policies" >&2
  exit 1
fi

export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "building kube-network-policies ..." >&2
cd "$work"
module=$(go mod download -json "sigs.k8s.io/kube-network-policies@v$policies" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
cp -r "$module" source
chmod -R u+w source
cd source
cp "$here/policies-xtables.go" pkg/dataplane/xtables.go
sed -i pkg/dataplane/controller.go \
  -e '/queue := &expr.Queue/,/^\t}$/c\	queue := queueExpr(uint16(c.config.QueueID), c.config.FailOpen)' \
  -e '/^\tinputChain := /i\	labelAccepted(nft, table, generateLabelMask(c.config.CTLabelAccept))'
go build -trimpath -ldflags "-s -w" -o ../netpol ./cmd/kube-network-policies/standard
mv ../netpol "$out/netpol" # when whole: an interrupted build leaves nothing half
echo "$out"
