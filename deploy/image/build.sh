#!/usr/bin/env bash
# Builds the images without a registry: by buildah, on bases made of Debian packages. Needs root, buildah, mmdebstrap,
# and pip for Python 3.11 or newer (PYTHON names it). Of each image an archive and a list are the result:
#
#   deploy/image/build.sh FOLDER
#
#   FOLDER/cloudroute-VERSION-image-ARCHITECTURE.tar        for docker load, ctr images import, skopeo copy
#   FOLDER/cloudroute-VERSION-image-ARCHITECTURE.cdx.json   what is in it (SBOM, CycloneDX)
#   FOLDER/cloudroute-cni-plugins-VERSION-...               the same of the CNI plugins that agents copy onto nodes
#
# It prints the archives' paths. The same sources on the same bases give the same bytes; SOURCE_DATE_EPOCH (default 0) is
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

missing=()
for program in buildah mmdebstrap; do
  command -v "$program" >/dev/null || missing+=("the program $program (Debian: apt-get install $program)")
done
"$python" -m pip --version >/dev/null 2>&1 || missing+=("pip of $python (Debian: python3-pip; or PYTHON=.venv/bin/python)")
((EUID == 0)) || missing+=("root, for the base's file system")
if ((${#missing[@]})); then
  printf 'missing: %s\n' "${missing[@]}" >&2
  exit 1
fi
if [[ $wanted == --check ]]; then exit; fi

work=$(mktemp -d)
# Images of its own, and no layer shared with anybody: vfs and chroot work in a container, too.
buildah() { command buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

# base NAME [PACKAGE...]: a base is in the cache, at ${bases[NAME]}. Its times are always 0: a release that changes
# nothing of it has the same layer, which the nodes have already.
declare -A bases
base() {
  local name=$1
  shift
  bases[$name]=$cache/$name-$({ cat "$here/base.sh"; echo "$*"; } | sha256sum | cut -c1-16).tar
  if [[ ! -e ${bases[$name]} ]]; then
    echo "making the $name from Debian packages ..." >&2
    SOURCE_DATE_EPOCH=0 "$here/base.sh" "${bases[$name]}" "$@" &
  fi
}
mkdir -p "$cache"
exec 9>"$cache/lock" && flock 9 # others may be filling it
base base
base builder python3-venv busybox-static containernetworking-plugins

# By the machine's own pip, so that its mirrors and certificates serve. The build checks all hashes again.
wheels=$cache/wheels-$(cat "$here"/*.lock | sha256sum | cut -c1-16)
if [[ ! -d $wheels ]]; then
  echo "downloading the Python packages ..." >&2
  for lock in build requirements; do
    "$python" -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
      --python-version 3.11 -d "$work/wheels" -r "$here/$lock.lock"
  done
  mv "$work/wheels" "$wheels"
fi
for job in $(jobs -p); do wait "$job"; done
exec 9>&-
if [[ $wanted == --prepare ]]; then exit; fi

for name in "${!bases[@]}"; do
  container=$(buildah from scratch)
  buildah add --quiet "$container" "${bases[$name]}" / >/dev/null
  buildah commit --quiet --format oci --timestamp 0 "$container" "localhost/$name" >/dev/null
  buildah rm "$container" >/dev/null
done

# build NAME DOCKERFILE SBOM [ARGUMENT...]: archive and list of that image, whose list is at SBOM in it, are in the
# folder. Docker's own format would record the names of the containers.
out=$(realpath -m "$wanted")
mkdir -p "$out"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$repository/cloudroute/__init__.py")
build() {
  local image=docker.io/library/$1:$version stem layer
  stem=$out/$1-$version-image-$(dpkg --print-architecture)
  echo "building the image $1 ..." >&2
  buildah build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --pull-never --format oci \
    --build-arg BASE=localhost/base --build-arg BUILDER=localhost/builder \
    --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "${@:4}" \
    --tag "$image" --file "$repository/deploy/$2" "$repository" >/dev/null
  rm -f "$stem".*
  buildah push --quiet "$image" "docker-archive:$stem.tar:$image"
  for layer in $(tar -tf "$stem.tar" | grep '\.tar$'); do # a container of it would be one more copy
    tar -xOf "$stem.tar" "$layer" | tar -xO "$3" 2>/dev/null || true
  done >"$stem.cdx.json"
  [[ -s $stem.cdx.json ]]
  echo "$stem.tar"
}

build cloudroute Dockerfile opt/cloudroute/sbom.cdx.json \
  --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels --volume "$wheels:/wheels:ro"
build cloudroute-cni-plugins image/cni-plugins.Dockerfile sbom.cdx.json
