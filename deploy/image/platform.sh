#!/bin/sh
# Prints the options by which pip takes the Python packages of an image: platform.sh amd64|arm64
case ${1:?which architecture: amd64 or arm64} in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "no image is built for $1: amd64 or arm64" >&2; exit 2 ;;
esac
echo "--no-deps --only-binary=:all: --python-version=3.11 --implementation=cp --platform=manylinux2014_$machine"
