#!/usr/bin/env bash
# Builds the image from deploy/Dockerfile without a registry: by buildah, on a base made of Debian packages. Needs root,
# buildah, mmdebstrap, and pip for Python 3.11 or newer (PYTHON names it). Two files are the result:
#
#   deploy/image/build.sh FOLDER     FOLDER/cloudroute-VERSION.tar        for docker load, ctr images import, skopeo copy
#                                    FOLDER/cloudroute-VERSION.cdx.json   what is in it (SBOM, CycloneDX)
#
# The same sources on the same base give the same bytes; SOURCE_DATE_EPOCH (default 0) is the time of all files. The
# bases and the packages are kept in the cache folder: remove them there when Debian has newer ones.
set -euo pipefail

repository=$(realpath "$(dirname "$0")/../..")
here=$repository/deploy/image
out=$(realpath -m "${1:?where to: deploy/image/build.sh FOLDER}")
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

work=$(mktemp -d)
# Images of its own, and no layer shared with anybody: vfs and chroot work in a container, too.
buildah() { command buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

# base NAME [PACKAGE...]: an image localhost/NAME of Debian packages.
base() {
  local name=$1 key container
  key=$(cat "$here/base.sh" <(echo "$SOURCE_DATE_EPOCH $*") | sha256sum | cut -c1-16)
  local kept=$cache/$name-$key.tar
  shift
  if [[ ! -e $kept ]]; then
    echo "making the $name from Debian packages ..." >&2
    mkdir -p "$cache"
    "$here/base.sh" "$kept" "$@"
  fi
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$kept" / >/dev/null
  buildah commit --quiet --format oci --timestamp "$SOURCE_DATE_EPOCH" "$container" "localhost/$name" >/dev/null
  buildah rm "$container" >/dev/null
}
base base
base builder python3-venv

# By the machine's own pip, so that its mirrors and certificates serve. The build checks all hashes again.
wheels=$cache/wheels-$(cat "$here"/*.lock | sha256sum | cut -c1-16)
if [[ ! -d $wheels ]]; then
  echo "downloading the Python packages ..." >&2
  for lock in build requirements; do
    "$python" -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
      --python-version 3.11 -d "$work/wheels" -r "$here/$lock.lock"
  done
  mkdir -p "$cache"
  mv "$work/wheels" "$wheels"
fi

echo "building the image ..." >&2
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$repository/cloudroute/__init__.py")
image=localhost/cloudroute:$version
# Docker's own format would record the names of the containers that it was built in.
buildah build --quiet --isolation chroot --timestamp "$SOURCE_DATE_EPOCH" --pull-never --format oci \
  --build-arg BASE=localhost/base --build-arg BUILDER=localhost/builder --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
  --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels --volume "$wheels:/wheels:ro" \
  --tag "$image" --file "$repository/deploy/Dockerfile" "$repository" >/dev/null

mkdir -p "$out"
container=$(buildah from --pull-never "$image")
buildah run --isolation chroot "$container" -- cat /opt/cloudroute/sbom.cdx.json >"$work/sbom"
rm -f "$out/cloudroute-$version".*
buildah push --quiet "$image" "docker-archive:$out/cloudroute-$version.tar:cloudroute:$version"
mv "$work/sbom" "$out/cloudroute-$version.cdx.json"
echo "$out/cloudroute-$version.tar"
