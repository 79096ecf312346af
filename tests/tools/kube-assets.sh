#!/usr/bin/env bash
# Builds the programs of Kubernetes and etcd from Go modules into a cache, for the tests that want the real ones:
# kube-apiserver, kubectl, kube-controller-manager, kube-scheduler, kubelet, kube-proxy and etcd.
# Needs Go; minutes the first time, nothing when they are there. Prints the folder.
set -euo pipefail

etcd=3.6.13
go_minor=24 # the oldest Go 1.x that Kubernetes 1.34 builds with

programs=(kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy) # of Kubernetes

source "$(dirname "${BASH_SOURCE[0]}")/go.sh"
missing=()
for binary in "${programs[@]}" etcd; do
  [[ -x $out/$binary ]] || missing+=("$binary")
done
if ((${#missing[@]} == 0)); then
  echo "$out"
  exit 0
fi

workspace "$go_minor" "${missing[*]}"

# build NAME LDFLAGS PACKAGE...: several at once, so that one is compiled while another is linked; NAME "" is each one's
# own. They are moved into place when whole, so that an interrupted build leaves nothing half.
build() {
  echo "building ${*:3} ..." >&2
  mkdir -p "$work/bin"
  go build -trimpath -ldflags "-s -w $2" -o "$work/bin/$1" "${@:3}"
  mv "$work/bin/"* "$out/"
}

if [[ ${missing[*]} != etcd ]]; then
  mkdir "$work/module"
  cd "$work/module"
  module=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
  # k8s.io/kubernetes replaces its staging modules by folders of its repository. Go ignores the replacements of a
  # dependency, so they are repeated here, with the versions that are published.
  {
    echo "module assets"
    grep -E '^go ' "$module"
    echo "godebug default=go1.24"
    echo "require k8s.io/kubernetes v$kubernetes"
    sed -n 's#^\s*\(k8s.io/[^ ]*\) => ./staging.*#replace \1 => \1 v0.'"${kubernetes#1.}"'#p' "$module" | sort -u
  } >go.mod
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "${programs[@]}"
    echo ')'
  } >tools.go
  go mod tidy 2>/dev/null || go mod tidy
  # Without it, clients are told v0.0.0.
  stamp="-X k8s.io/component-base/version.gitVersion=v$kubernetes"
  packages=()
  for binary in "${missing[@]}"; do
    [[ $binary == etcd ]] || packages+=("k8s.io/kubernetes/cmd/$binary")
  done
  build "" "$stamp" "${packages[@]}"
fi

if [[ " ${missing[*]} " == *" etcd "* ]]; then
  mkdir "$work/etcd-module"
  cd "$work/etcd-module"
  go mod init assets 2>/dev/null
  go get "go.etcd.io/etcd/server/v3@v$etcd" 2>/dev/null || go get "go.etcd.io/etcd/server/v3@v$etcd"
  build etcd "" go.etcd.io/etcd/server/v3
fi

echo "$out"
