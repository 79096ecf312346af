#!/usr/bin/env bash
# Builds Helm from Go modules into the cache of kube-assets.sh, for the tests of deploy/chart.
# Needs Go; minutes the first time, nothing when it is there. Prints the folder.
set -euo pipefail

helm=4.3.1
go_minor=26 # the oldest Go 1.x that it builds with

source "$(dirname "${BASH_SOURCE[0]}")/go.sh"
begin helm "$go_minor" helm

go mod init assets 2>/dev/null
go get "helm.sh/helm/v4/cmd/helm@v$helm" 2>/dev/null || go get "helm.sh/helm/v4/cmd/helm@v$helm"
go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$helm" -o helm helm.sh/helm/v4/cmd/helm
end helm
