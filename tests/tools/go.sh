# What the scripts that build programs from Go modules share; each sources it. shellcheck shell=bash
#
# KUBEBUILDER_ASSETS, where set, is the folder `out`: a program that it already has is not built.

kubernetes=1.34.0 # by which the folder is called
out=${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/kube-$kubernetes}

# workspace MINOR WORDS: demand Go 1.MINOR to build WORDS, and enter `work`, which is removed at the end.
workspace() {
  if ! command -v go >/dev/null; then
    echo "Go is missing: install Go 1.$1 or newer (https://go.dev/dl) to build $2" >&2
    exit 1
  fi
  local version minor
  version=$(GOTOOLCHAIN=local go env GOVERSION)
  minor=${version#go1.}
  if ((${minor%%[!0-9]*} < $1)); then
    echo "$version is too old: install Go 1.$1 or newer (https://go.dev/dl) to build $2" >&2
    exit 1
  fi
  export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off
  mkdir -p "$out"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
}

# begin PROGRAM MINOR WORDS: end here if the folder has the program, else enter the workspace.
begin() {
  if [[ -x $out/$1 ]]; then
    echo "$out"
    exit 0
  fi
  workspace "$2" "$3"
  echo "building $3 ..." >&2
}

# end PROGRAM: put it into the folder when it is whole, so that an interrupted build leaves nothing half; print the folder.
end() {
  mv "$1" "$out/"
  echo "$out"
}
