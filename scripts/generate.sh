#!/usr/bin/env bash
# Generates libs/common/stylobate/api from proto/. `make check` fails when the result differs from what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-libs/common}
mkdir -p "$out/stylobate/api"
find "$out/stylobate/api" -name '*_pb2*' -delete
.venv/bin/python -m grpc_tools.protoc -I proto \
  --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  $(cd proto && find stylobate -name '*.proto' | sort)
find "$out/stylobate/api" -type d -exec touch {}/__init__.py \;
