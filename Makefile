# driftloop's commands. `make run` and `make test` set up what they need; run again, they start at once.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format compile lock clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make .venv with the driftloop command, from the pinned and hashed requirements.

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "driftloop needs Python 3.11; name it with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: setup ## Run the whole loop on this machine; ARGS="--source ... --drift ..." is passed on, ARGS="drift-watch" watches.
	@$(BIN)/driftloop run $(if $(filter training drift-watch full-loop,$(firstword $(ARGS))),,full-loop) $(ARGS)

test: setup ## Run every test.
	$(BIN)/python -m pytest $(ARGS)

lint: setup ## Check style, types, layers and that the compiled pipelines are fresh.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/driftloop compile --check

format: setup ## Put the code into its standard form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup ## Write the three pipelines as YAML into pipelines/compiled/.
	$(BIN)/driftloop compile

lock: setup ## Resolve the requirements again, with hashes and without addresses.
	$(BIN)/uv pip compile requirements/uv.in --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --upgrade -o requirements/uv.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --upgrade -o requirements/dev.txt

clean: ## Remove the environment and what the tools cached; runs stay.
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
