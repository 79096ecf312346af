#!/usr/bin/env bash
# Builds Helm from Go modules into the cache of kube-assets.sh, for the tests of deploy/chart.
# Needs Go; minutes the first time, nothing when it is there. Prints the folder.
#
# KUBEBUILDER_ASSETS, where set, is that folder: a helm that it already has is not built.
set -euo pipefail

helm=4.3.1
go_minor=26       # the oldest Go 1.x that it builds with
kubernetes=1.34.0 # by which the folder is called; see kube-assets.sh

out=${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/kube-$kubernetes}
if [[ -x $out/helm ]]; then
  echo "$out"
  exit 0
fi

if ! command -v go >/dev/null; then
  echo "Go is missing: install Go 1.$go_minor or newer (https://go.dev/dl) to build helm" >&2
  exit 1
fi
version=$(GOTOOLCHAIN=local go env GOVERSION)
minor=${version#go1.}
if ((${minor%%[!0-9]*} < go_minor)); then
  echo "$version is too old: install Go 1.$go_minor or newer (https://go.dev/dl) to build helm" >&2
  exit 1
fi

export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

echo "building helm ..." >&2
go mod init assets 2>/dev/null
go get "helm.sh/helm/v4/cmd/helm@v$helm" 2>/dev/null || go get "helm.sh/helm/v4/cmd/helm@v$helm"
go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$helm" -o helm helm.sh/helm/v4/cmd/helm
mv helm "$out/helm" # when whole: an interrupted build leaves nothing half
echo "$out"
