#!/usr/bin/env bash
# Builds CoreDNS from Go modules into the cache of kube-assets.sh, for the tests that resolve names in a cluster. It has
# the plugins of the Corefile in cloudroute/lab/hosts/coredns.py alone: all of them would take five times as long.
# Needs Go; a minute the first time, nothing when it is there. Prints the folder.
set -euo pipefail

coredns=1.12.4
go_minor=24 # the oldest Go 1.x that it builds with

source "$(dirname "${BASH_SOURCE[0]}")/go.sh"
begin coredns "$go_minor" coredns

plugins=(ready errors cache kubernetes loadbalance forward) # in the order of CoreDNS's plugin.cfg, which is the queries'

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
end coredns
