#!/usr/bin/env bash
# Fails when the generated code or the generated reference differs from what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
scripts/generate.sh "$fresh"
if ! diff -r -x __pycache__ "$fresh/stylobate/api" libs/common/stylobate/api >"$fresh/difference"; then
  echo "libs/common/stylobate/api is not what proto/ generates: make generate"
  head -n 20 "$fresh/difference"
  exit 1
fi
.venv/bin/python scripts/generate_reference.py --check
