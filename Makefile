# `make demo` and `make test` are all a fresh clone needs. PYTHON=... names an interpreter.
export PYTHON
BIN := .venv/bin

.PHONY: help setup demo test check bench tutorial

help:
	@echo "make demo    talk to the model while intrinsics judge every turn"
	@echo "make test    lint, type check and test: what CI runs"
	@echo "make check   lint and type check only"
	@echo "make bench   measure, and write benchmarks/"
	@echo "make tutorial  run docs/tutorial.md in full, in a fresh folder"
	@echo "make setup   make .venv; each of the others does it when needed"

setup:
	@bash scripts/setup.sh

demo: setup
	@$(BIN)/chains demo

check: setup
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --quiet --check .
	@$(BIN)/python -m mypy

test: check
	@$(BIN)/python -m pytest

bench: setup
	@$(BIN)/python benchmarks/run.py

tutorial: setup
	@$(BIN)/python scripts/run_tutorial.py
