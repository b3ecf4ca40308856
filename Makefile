# `make up` runs the main job on the local twin. `make quick` is for while you work, `make test` for before you push.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One worker mostly waits for clocks, so that two cores have work for three.
PYTEST := $(BIN)/pytest -n 3 --durations 10

# What Python has compiled is kept, whatever the environment says: previews import hundreds of large generated modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up quick test soak timed setup lint types arrows fast tests docs down lock image clean

# What there is to make.
help:
	@awk '/^# /{said = substr($$0, 3)} /^[a-z]+:/{split($$1, name, ":"); if (said) printf "%-6s  %s\n", name[1], said; said = ""} /^$$/{said = ""}' Makefile

# The main job on the local twin: package the example, deploy, drill.
up: $(READY)
	$(BIN)/spillway package
	$(BIN)/spillway up
	$(BIN)/spillway drill --short

# Stops the twin that `up` started.
down: $(READY)
	$(BIN)/spillway down

# What has to pass: a quarter of an hour on two cores, types beside the tests.
test: lint arrows
	$(MAKE) --no-print-directory -j 2 types tests

# What of it takes three minutes, types beside the tests.
quick: lint arrows
	$(MAKE) --no-print-directory -j 2 types fast

# The tests of `quick`.
fast: $(READY)
	$(PYTEST) -m 'not heavy and not timed and not pulumi_cli and not kubernetes'

# The tests of `test`.
tests: $(READY)
	$(PYTEST) -m 'not soak and not timed and not pulumi_cli and not kubernetes'

# Endurance and statistics.
soak: $(READY)
	$(PYTEST) -m soak

# Minutes of load whose times are judged, one by one: leave the machine alone meanwhile, for three quarters of an hour.
timed: $(READY)
	$(BIN)/pytest --durations 10 -m timed

# The environment, from the pinned versions.
setup: $(READY)

$(READY): requirements/lock.txt requirements/example-models.txt pyproject.toml scripts/setup.py spillway/twin/tools.py
	$(PYTHON) scripts/setup.py

# Ruff: faults and form.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The cloud SDKs do not fit into the heap that node takes by itself; it then forgets and reads again.
# Types, by pyright: behind the tests beside it, some of which judge by the clock.
types: $(READY)
	NODE_OPTIONS=--max-old-space-size=8192 nice -n 10 $(BIN)/pyright

# Which room may import which.
arrows: $(READY)
	$(BIN)/lint-imports

# Renews every generated page, schema and table. What it changes belongs into the commit.
docs: $(READY)
	$(BIN)/python scripts/docs.py

# Pins every version from pyproject.toml's ranges. No address of an index is written.
lock: $(READY)
	$(BIN)/uv pip compile --quiet --python $(BIN)/python --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements/lock.txt pyproject.toml
	$(BIN)/python scripts/image.py lock

# The gateways' runtime image. BASE=NAME@sha256:DIGEST is needed; BUILDER, NAME, SOURCE and PUSH=1 are not.
image: $(READY)
	$(BIN)/python scripts/image.py build --base '$(BASE)' --builder '$(BUILDER)' --name '$(NAME)' --source '$(SOURCE)' $(if $(PUSH),--push)

# Removes environment, tools and twins.
clean:
	rm -rf .venv .tools .spillway
