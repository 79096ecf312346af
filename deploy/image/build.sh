#!/usr/bin/env bash
# Builds the image of amd64 and arm64 without a registry: by buildah, on bases made of Debian packages. Needs root,
# buildah, mmdebstrap, QEMU, and pip for Python 3.11 or newer (PYTHON names it). An archive and two lists are the result:
#
#   deploy/image/build.sh FOLDER
#
#   FOLDER/cloudroute-VERSION-image.tar                     an OCI index of both, for skopeo copy --all, ctr images import
#   FOLDER/cloudroute-VERSION-image-ARCHITECTURE.cdx.json   what is in one of them (SBOM, CycloneDX)
#
# It prints the archive's path. The same sources on the same bases give the same bytes; SOURCE_DATE_EPOCH (default 0) is
# the time of all that is not of a base. Bases and Python packages are kept in the cache folder: remove them there when
# Debian has newer ones.
#
#   deploy/image/build.sh --prepare   only fills that cache, which is most of the work
#   deploy/image/build.sh --check     only says what is missing
set -euo pipefail
umask 022

repository=$(realpath "$(dirname "$0")/../..")
here=$repository/deploy/image
wanted=${1:?what for: deploy/image/build.sh FOLDER}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/image
architectures=(amd64 arm64)

missing=()
for program in buildah mmdebstrap arch-test; do
  command -v "$program" >/dev/null || missing+=("the program $program (Debian: apt-get install $program)")
done
compgen -G '/usr/lib/binfmt.d/qemu-*' >/dev/null || missing+=("QEMU (Debian: apt-get install qemu-user-static)")
"$python" -m pip --version >/dev/null 2>&1 || missing+=("pip of $python (Debian: python3-pip; or PYTHON=.venv/bin/python)")
((EUID == 0)) || missing+=("root, for the base's file system")
if ((${#missing[@]})); then
  printf 'missing: %s\n' "${missing[@]}" >&2
  exit 1
fi
if [[ $wanted == --check ]]; then exit; fi

native=$(dpkg --print-architecture)
work=$(mktemp -d)
# Images of its own, and no layer shared with anybody: vfs and chroot work in a container, too.
buildah() { "$here/emulate.sh" buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

# base NAME ARCHITECTURE [PACKAGE...]: a base is in the cache, at ${bases[NAME]}. Its times are always 0: a release that
# changes nothing of it has the same layer, which the nodes have already.
declare -A bases
base() {
  local name=$1
  shift
  bases[$name]=$cache/$name-$({ cat "$here/base.sh"; echo "$*"; } | sha256sum | cut -c1-16).tar
  if [[ ! -e ${bases[$name]} ]]; then
    echo "making the $name from Debian packages ..." >&2
    SOURCE_DATE_EPOCH=0 "$here/emulate.sh" "$here/base.sh" "${bases[$name]}" "$@" &
  fi
}
mkdir -p "$cache"
exec 9>"$cache/lock" && flock 9 # others may be filling it
for architecture in "${architectures[@]}"; do base "base-$architecture" "$architecture"; done
base builder "$native" python3-venv

# By the machine's own pip, so that its mirrors and certificates serve. The build checks all hashes again.
wheels=$cache/wheels-$(cat "$here"/*.lock "$here/platform.sh" | sha256sum | cut -c1-16)
if [[ ! -d $wheels ]]; then
  echo "downloading the Python packages ..." >&2
  for architecture in "${architectures[@]}"; do
    for lock in build requirements; do
      # shellcheck disable=SC2046 # options, a word each
      "$python" -m pip download -q --disable-pip-version-check --require-hashes $("$here/platform.sh" "$architecture") \
        -d "$work/wheels" -r "$here/$lock.lock"
    done
  done
  mv "$work/wheels" "$wheels"
fi
for job in $(jobs -p); do wait "$job"; done
exec 9>&-
if [[ $wanted == --prepare ]]; then exit; fi

load() { # NAME ARCHITECTURE: the base is an image that a Dockerfile can name
  local container
  container=$(buildah from --arch "$2" scratch)
  buildah add --quiet "$container" "${bases[$1]}" / >/dev/null
  buildah commit --quiet --format oci --timestamp 0 "$container" "localhost/$1" >/dev/null
  buildah rm "$container" >/dev/null
}
load builder "$native"

out=$(realpath -m "$wanted")
mkdir -p "$out"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$repository/cloudroute/__init__.py")
for architecture in "${architectures[@]}"; do
  echo "building the image of $architecture ..." >&2
  load "base-$architecture" "$architecture"
  # Docker's own format would record the names of the containers.
  buildah build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --pull-never --format oci \
    --platform "linux/$architecture" --build-arg BUILDPLATFORM="linux/$native" --volume "$wheels:/wheels:ro" \
    --build-arg BASE="localhost/base-$architecture" --build-arg BUILDER=localhost/builder \
    --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels \
    --tag "localhost/$architecture" --file "$repository/deploy/Dockerfile" "$repository" >/dev/null
  buildah push --quiet "localhost/$architecture" "oci:$work/$architecture"
done
rm -f "$out/cloudroute-$version-image"*
"$python" "$here/pack.py" "$out/cloudroute-$version-image" "docker.io/library/cloudroute:$version" \
  "${architectures[@]/#/$work/}"
