#!/usr/bin/env bash
# Compares the contracts with those last released (`make release`): what was released may be added to, not broken.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/buf breaking --against proto/released.binpb
