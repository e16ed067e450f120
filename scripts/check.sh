#!/usr/bin/env bash
# Runs the checks: `fast` for those of about two minutes, `all` for every one, with coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p build

step() {
    local name=$1
    shift
    printf '==> %s\n' "$name"
    "$@"
}

step "format" ruff format --check -q .
step "lint" ruff check -q .
step "types" mypy --no-error-summary
step "layers" lint-imports --no-logo 2>/dev/null >build/layers.txt || { cat build/layers.txt; exit 1; }

case ${1:-fast} in
fast)
    step "unit and property tests" pytest -q -n "${JOBS:-$(nproc)}" --dist loadfile tests/unit tests/properties
    ;;
all)
    coverage erase
    step "unit, property, contract and integration tests, with coverage" \
        coverage run -m pytest -n "${JOBS:-$(nproc)}" --dist loadfile \
        tests/unit tests/properties tests/contracts tests/integration
    step "end-to-end tests, which want the machine to themselves, with coverage" coverage run -m pytest tests/e2e
    coverage combine -q
    step "coverage of everything (85 % or more)" coverage report --fail-under=85
    step "coverage of core, mcp, model (90 % or more)" coverage report --fail-under=90 \
        --include='src/fairlead/core/*,src/fairlead/mcp/*,src/fairlead/model/*'
    step "the official conformance suite, through the gateway" env PYTHONPATH=tests python -m conformance
    ;;
esac
