# `make demo` shows everything, `make test` proves it. Both set up what they need; nothing outside this folder, the cache
# (${XDG_CACHE_HOME:-~/.cache}/roadstead) and, for the cluster, /var/lib/roadstead is written.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests wait more than they compute. Each file is one worker's own, with the clusters that it starts.
SIDE_BY_SIDE := --numprocesses=2 --dist=loadfile
CLUSTER_CLI := $(BIN)/python -m hack.cluster

.DEFAULT_GOAL := help
.PHONY: help demo up down env logs status check generate verify test test-long lock

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=… chooses one)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked dependencies into $(VENV)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP) ## Start a cluster, install the chart, serve an example, ask the REST API for it, and wake one from zero
	@$(CLUSTER_CLI) demo

up: $(STAMP) ## Start the everyday cluster (TIER=full|control, CLUSTER=auto|local|kind|current)
	@$(CLUSTER_CLI) up --tier $(or $(TIER),full)

down: $(STAMP) ## Stop it and leave nothing behind
	@$(CLUSTER_CLI) down

env: $(STAMP) ## Print what gives a shell its kubectl: eval "$$(make -s env)"
	@$(CLUSTER_CLI) env

logs: $(STAMP) ## Print the end of each component's log (COMPONENT=kubelet LINES=100)
	@$(CLUSTER_CLI) logs $(COMPONENT) --lines $(or $(LINES),20)

status: $(STAMP) ## Say what is up
	@$(CLUSTER_CLI) status

check: $(STAMP) ## Lint, formatting, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

generate: $(STAMP) ## Write the CRDs and docs/openapi.yaml from the types, and Argo CD's files from deploy/argocd/health.lua
	@$(BIN)/python -m hack.generate

verify: generate ## Fail when a generated file differs from what is committed
	@git diff --exit-code -- crds charts/roadstead/crds operator/roadstead/crds deploy/argocd docs/openapi.yaml || { echo "Generated files have changed: commit what make generate wrote" >&2; exit 1; }
	@test -z "$$(git ls-files --others --exclude-standard -- crds charts/roadstead/crds operator/roadstead/crds deploy/argocd docs/openapi.yaml)" || { echo "Generated files are not committed" >&2; exit 1; }

# The builds come first: each test has a time limit, and on a fresh machine they take longer.
test: $(STAMP) ## Set up and pass the tests; every matrix by a fixed sample
	@$(CLUSTER_CLI) build --all --quiet
	@$(BIN)/pytest $(SIDE_BY_SIDE) tests

test-long: $(STAMP) ## The same tests with all parameters
	@$(CLUSTER_CLI) build --all --quiet
	@ROADSTEAD_LONG=1 $(BIN)/pytest $(SIDE_BY_SIDE) tests

lock: $(STAMP) ## Resolve the dependencies again into requirements/
	@$(BIN)/uv pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes --output-file requirements/runtime.txt pyproject.toml
	@$(BIN)/uv pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes --group dev --constraint requirements/runtime.txt \
		--output-file requirements/dev.txt pyproject.toml
