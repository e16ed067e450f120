#!/usr/bin/env bash
# Makes the virtual environment $1 with Python 3.11 or later and the pinned installer in it.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")/.." && pwd)

find_python() {
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Fairlead needs Python 3.11 or later; 'python3' here is: $(python3 --version 2>&1 || true)." >&2
    echo "Install one, or name it: make up PYTHON=/path/to/python3.12" >&2
    exit 1
}

python=$(find_python)
echo "==> making $venv with $("$python" --version)"
if ! "$python" -m venv "$venv" >"$venv.log" 2>&1; then
    cat "$venv.log" >&2
    echo "This Python cannot make virtual environments (Debian and Ubuntu: apt install python3-venv)." >&2
    rm -f "$venv.log"
    exit 1
fi
rm -f "$venv.log"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$here/requirements/bootstrap.txt"
