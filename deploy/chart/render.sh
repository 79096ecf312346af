#!/usr/bin/env bash
# Prints the chart's manifests as deploy/cloudroute.yaml has them, for those who use no Helm. A test keeps that file so:
#
#   deploy/chart/render.sh >deploy/cloudroute.yaml
#
# Needs helm: in the PATH, or built by tests/tools/helm-assets.sh.
set -euo pipefail
chart=$(dirname "$(realpath "$0")")

cat <<'HEAD'
# All of cloudroute, rendered from deploy/chart with deploy/chart/plain.yaml by deploy/chart/render.sh. Before you apply
# it, replace in it
#
#   CLUSTER            by the name in the tag kubernetes.io/cluster/NAME of your route tables (twice)
#   10.244.0.0/16      by a pool of your own for the pods, if that one overlaps anything (twice)
#   image: cloudroute  by where your registry has the image (twice)
#
# and give the ServiceAccount cloudroute-controller the rights of deploy/iam. The chart can take over later, and replaces
# no object: helm install cloudroute deploy/chart --namespace cloudroute --take-ownership --server-side=false, with values
# that say the same (deploy/chart/plain.yaml).
HEAD
# The version of Kubernetes decides nothing in the chart; it only must not depend on the helm that renders.
PATH=$PATH:${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudroute/kube-1.34.0} \
  helm template cloudroute "$chart" --namespace cloudroute --values "$chart/plain.yaml" --kube-version 1.34.0 --skip-tests
