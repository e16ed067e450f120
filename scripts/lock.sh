#!/usr/bin/env bash
# Resolves the dependencies and writes the lock files: exact versions and hashes, no download host.
set -euo pipefail
uv=$(realpath "$1")
cd "$(dirname "$0")/../requirements"
compile=("$uv" pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url
    --no-header --annotation-style line --upgrade)
"${compile[@]}" bootstrap.in -o bootstrap.txt
"${compile[@]}" ../pyproject.toml -c bootstrap.txt -o runtime.txt
"${compile[@]}" ../pyproject.toml --group ../pyproject.toml:dev -c runtime.txt -o dev.txt
for name in fastmcp mcp-proxy; do
    "${compile[@]}" "../bench/requirements-$name.in" -o "../bench/requirements-$name.txt"
done
"${compile[@]}" ../tests/e2e/requirements-mcp-legacy.in -o ../tests/e2e/requirements-mcp-legacy.txt
