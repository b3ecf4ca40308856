# Two commands: `make up` runs the main job on the local twin, `make test` runs every gate and test.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: up test setup lint types arrows tests down lock clean

up: $(READY)
	$(BIN)/spillway package
	$(BIN)/spillway up
	$(BIN)/spillway drill --short

down: $(READY)
	$(BIN)/spillway down

test: $(READY) lint types arrows tests

setup: $(READY)

$(READY): requirements/lock.txt requirements/example-models.txt pyproject.toml scripts/setup.py spillway/twin/tools.py
	$(PYTHON) scripts/setup.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

arrows: $(READY)
	$(BIN)/lint-imports

# Real processes on a shared, noisy machine: what fails is looked at once more, alone. What fails twice has failed.
tests: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m 'not heavy' || $(BIN)/pytest -m 'not heavy' --last-failed --last-failed-no-failures none
	$(BIN)/pytest -m heavy || $(BIN)/pytest -m heavy --last-failed --last-failed-no-failures none

# Pins every version from pyproject.toml's ranges. No address of an index is written.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --python $(BIN)/python --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements/lock.txt pyproject.toml

clean:
	rm -rf .venv .tools .spillway
