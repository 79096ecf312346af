#!/usr/bin/env bash
# Builds kube-network-policies from its Go module into the cache of kube-assets.sh, for tests/policies.
# Needs Go; minutes the first time, nothing when it is there. Prints the folder.
set -euo pipefail

policies=1.1.1 # the version of deploy/chart/values.yaml
go_minor=26 # the oldest Go 1.x that it builds with

here=$(dirname "$(realpath "$0")")
source "$here/go.sh"
begin netpol "$go_minor" kube-network-policies
module=$(go mod download -json "sigs.k8s.io/kube-network-policies@v$policies" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
cp -r "$module" source
chmod -R u+w source
cd source
cp "$here/policies-xtables.go" pkg/dataplane/xtables.go
sed -i pkg/dataplane/controller.go \
  -e '/queue := &expr.Queue/,/^\t}$/c\	queue := queueExpr(uint16(c.config.QueueID), c.config.FailOpen)' \
  -e '/^\tinputChain := /i\	labelAccepted(nft, table, generateLabelMask(c.config.CTLabelAccept))'
go build -trimpath -ldflags "-s -w" -o ../netpol ./cmd/kube-network-policies/standard
end ../netpol
