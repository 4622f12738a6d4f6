#!/usr/bin/env bash
# Builds an image per service as localhost/stylobate-<service>:<TAG>.
#   TOOL  docker, podman or buildah; the first that is there
#   BASE  another base image for both stages; see deploy/docker/Dockerfile
#   CA    a file with authorities to trust while packages are fetched
#   TAG   the version
set -euo pipefail
cd "$(dirname "$0")/.."
TOOL=${TOOL:-$(for tool in docker podman buildah; do if command -v "$tool" && "$tool" info; then echo "tool=$tool"; fi; done 2>/dev/null | sed -n 's/^tool=//p' | head -n 1)}
[ -n "$TOOL" ] || { echo "none of docker, podman and buildah works here" >&2; exit 1; }
version=$(cat VERSION)
arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)")
[ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")
[ -z "${CA:-}" ] || arguments+=(--secret "id=ca,src=$CA")
[ "$TOOL" != buildah ] || arguments+=(--layers --isolation "${BUILDAH_ISOLATION:-chroot}")
for service in services/*/; do
  service=$(basename "$service")
  "$TOOL" build "${arguments[@]}" --build-arg "SERVICE=$service" -f deploy/docker/Dockerfile \
    -t "localhost/stylobate-$service:${TAG:-$version}" .
done
