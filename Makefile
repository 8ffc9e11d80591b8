# driftloop's commands. `make run` and `make test` set up what they need; run again, they start at once.
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# An environment keeps its Python; a new one gets the newest that really runs: pyenv puts names on PATH for versions that are not active.
PYTHON ?= $(shell try() { "$$1" -c '$(SUPPORTED)' 2>/dev/null && echo "$$1" && exit; }; try $(BIN)/python; IFS=:; \
	for name in python3.13 python3.12 python3.11 python3; do for folder in $$PATH; do try "$$folder/$$name"; done; done)
# Another version beside it: make test PYTHON=python3.11 VENV=.venv-3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
DOCKER ?= docker
COMPOSE = DRIFTLOOP_VERSION=$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml) $(DOCKER) compose --file docker/compose.yaml

.DEFAULT_GOAL := help
.PHONY: help setup run test mutants lint audit format compile images compose up up-service up-monitoring up-tracking down cluster-up cluster-images cluster-down lock clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## Make .venv with the driftloop command, from the pinned and hashed requirements; PYTHON=... names the Python.

VERSION := import sys; print(sys.version_info[:2])
# An environment of another version than the PYTHON that was asked for is made again.
ifneq ($(filter command environment,$(origin PYTHON)),)
ifneq ($(shell $(PYTHON) -c '$(VERSION)' 2>&1 || :),$(shell $(BIN)/python -c '$(VERSION)' 2>&1 || :))
.PHONY: $(READY)
endif
endif

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	@clear=; python="$(PYTHON)"; "$$python" -c '$(SUPPORTED)' 2>/dev/null || { \
	echo "driftloop needs Python 3.11, 3.12 or 3.13 with its module venv (Debian, Ubuntu: apt install python3-venv);" \
	"found: $${python:-none on PATH}; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }; \
	[ ! -e $(VENV)/pyvenv.cfg ] || [ "$$($(BIN)/python -c '$(VERSION)' 2>&1)" = "$$("$$python" -c '$(VERSION)')" ] || clear=--clear; \
	set -x; "$$python" -m venv $$clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: setup ## Run the whole loop on this machine; ARGS="--source ... --drift ..." is passed on, ARGS="drift-watch" watches.
	@$(BIN)/driftloop run $(if $(filter training drift-watch full-loop,$(firstword $(ARGS))),,full-loop) $(ARGS)

# A step is a process of its own: where Python keeps no bytecode (PYTHONDONTWRITEBYTECODE), each would compile the whole of driftloop anew.
test: setup ## Run every test.
	$(BIN)/python -m compileall -q driftloop components pipelines
	$(BIN)/python -m pytest $(ARGS)

mutants: setup ## Count the small faults in deciding code that the tests notice: hours; ARGS="--only policy" for a part.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/mutants.txt
	$(BIN)/python -m bench.mutants $(ARGS)

lint: setup ## Check style, types, layers and that the compiled pipelines are fresh.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/driftloop compile --check

audit: setup ## Look up known vulnerabilities of everything that is pinned.
	set -e; for name in uv dev train watch serve tensorboard mlflow; do $(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$name.txt; done

format: setup ## Put the code into its standard form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup ## Write the three pipelines as YAML into pipelines/compiled/.
	$(BIN)/driftloop compile

images: ## Build the images of the steps, each tagged by release and by content; DOCKER=... names the docker program.
	DOCKER="$(DOCKER)" docker/build.sh watch train serve

docker/minio.env: # The keys of the MinIO that `make up` starts, new and random; as shell variables for `--store s3://...`, too.
	@umask 077 && secret=$$(head -c 24 /dev/urandom | base64 | tr '+/' '-_') && { \
	echo "MINIO_ROOT_USER=driftloop"; echo "MINIO_ROOT_PASSWORD=$$secret"; echo "AWS_ACCESS_KEY_ID=driftloop"; \
	echo "AWS_SECRET_ACCESS_KEY=$$secret"; echo "AWS_REGION=us-east-1"; echo "AWS_ENDPOINT_URL=http://127.0.0.1:9000"; } > $@

docker/tensorboard.env: # The keys of TensorBoard's user there.
	@umask 077 && { echo "AWS_ACCESS_KEY_ID=driftloop-tensorboard"; echo "AWS_SECRET_ACCESS_KEY=$$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')"; \
	echo "AWS_REGION=us-east-1"; } > $@

docker/service.env: # The keys of the service's user there, and those that callers and labellers show.
	@random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }; umask 077 && { \
	echo "AWS_ACCESS_KEY_ID=driftloop-service"; echo "AWS_SECRET_ACCESS_KEY=$$(random)"; echo "AWS_REGION=us-east-1"; \
	echo "DRIFTLOOP_API_KEY=$$(random)"; echo "DRIFTLOOP_FEEDBACK_KEY=$$(random)"; } > $@

docker/grafana.env: # The password of Grafana's user there, admin.
	@umask 077 && echo "GF_SECURITY_ADMIN_PASSWORD=$$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')" > $@

compose:
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "$(DOCKER) has no compose command: install the Docker Compose plugin, version 2, or name another program with DOCKER=..." >&2; exit 2; }

up: setup compose docker/minio.env docker/tensorboard.env docker/service.env docker/grafana.env ## Start MinIO (9000, its console 9001) and TensorBoard (6006) on this machine's loopback address.
	DOCKER="$(DOCKER)" docker/build.sh minio tensorboard
	$(COMPOSE) up --detach --wait minio
	$(BIN)/python docker/minio_user.py docker/minio.env docker/tensorboard.env
	$(COMPOSE) up --detach --wait
	@echo 'MinIO at http://127.0.0.1:9000, TensorBoard at http://127.0.0.1:6006; for --store s3://...: set -a; . docker/minio.env'

up-service: up ## Then the champion of DRIFTLOOP_STORE (s3://driftloop/demo) as a service at 8088; its keys are in docker/service.env.
	DOCKER="$(DOCKER)" docker/build.sh serve
	$(BIN)/python docker/minio_user.py docker/minio.env docker/service.env
	$(COMPOSE) --profile service up --detach --wait serve
	@echo 'the champion at http://127.0.0.1:8088; for its key: set -a; . docker/service.env'

up-monitoring: up-service ## Then Prometheus (9090) and Grafana (3000) over the service; the password of Grafana's admin is in docker/grafana.env.
	$(COMPOSE) --profile service --profile monitoring up --detach --wait prometheus grafana
	@echo 'Prometheus at http://127.0.0.1:9090, Grafana at http://127.0.0.1:3000'

up-tracking: up ## Then an MLflow server (5000), for `driftloop track --to mlflow`.
	DOCKER="$(DOCKER)" docker/build.sh mlflow
	$(COMPOSE) --profile tracking up --detach --wait mlflow
	@echo 'MLflow at http://127.0.0.1:5000; for driftloop track: export MLFLOW_TRACKING_URI=http://127.0.0.1:5000'

down: compose docker/minio.env docker/tensorboard.env docker/service.env docker/grafana.env ## Stop them, and the MinIO of `--on docker`; what they stored stays.
	$(COMPOSE) --profile service --profile monitoring --profile tracking down
	@$(DOCKER) rm --force driftloop-run-minio >/dev/null 2>&1 || true

cluster-up: ## Make a kind cluster with Kubeflow Pipelines (8080), MinIO (9010) and TensorBoard (6016); again: go on, or repair it.
	@DOCKER="$(DOCKER)" k8s/kind/up

cluster-images: ## Build the images of the steps and load them into the kind cluster; ARGS="watch" names some.
	@DOCKER="$(DOCKER)" k8s/kind/images $(ARGS)

cluster-down: ## Remove the kind cluster, with everything that was stored in it.
	@DOCKER="$(DOCKER)" k8s/kind/down

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet

lock: setup ## Resolve the requirements again, with hashes and without addresses; the images get the versions that were tested.
	$(COMPILE) --upgrade requirements/uv.in -o requirements/uv.txt
	$(COMPILE) --upgrade pyproject.toml --extra dev -o requirements/dev.txt
	$(COMPILE) --upgrade pyproject.toml --extra privacy --extra train --extra weights --constraints requirements/dev.txt -o requirements/train.txt
	$(COMPILE) --upgrade pyproject.toml --extra alerts --extra mlflow requirements/watch.in --excludes requirements/watch-excludes.txt --excludes requirements/grpc-excludes.txt --constraints requirements/dev.txt -o requirements/watch.txt
	$(COMPILE) --upgrade pyproject.toml --extra serve requirements/serve.in --excludes requirements/watch-excludes.txt --excludes requirements/serve-excludes.txt --constraints requirements/dev.txt -o requirements/serve.txt
	$(COMPILE) --upgrade requirements/tensorboard.in -o requirements/tensorboard.txt
	$(COMPILE) --upgrade requirements/mlflow.in -o requirements/mlflow.txt
	$(COMPILE) --upgrade requirements/mutants.in --constraints requirements/dev.txt -o requirements/mutants.txt

clean: ## Remove the environment and what the tools cached; runs stay.
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
