#!/usr/bin/env bash
# Compares the contracts with those last released. Before the first release there is none, and the file says so by being empty.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -s proto/released.binpb ]; then
  echo "buf breaking: nothing was released yet"
  exit 0
fi
.venv/bin/buf breaking --against proto/released.binpb
