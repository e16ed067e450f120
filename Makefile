# Two commands carry the project: `make up` and `make test`. Everything else is a part of them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
ARGS ?=

.PHONY: help up test check conformance bench fmt lock clean setup setup-dev unit schema

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1mmake %-11s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.bootstrap: requirements/bootstrap.txt scripts/bootstrap.sh
	@scripts/bootstrap.sh $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.bootstrap requirements/runtime.txt pyproject.toml
	@echo "==> installing Fairlead into $(VENV)"
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "==> installing what the checks need"
	@$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.runtime
setup-dev: $(VENV)/.dev

up: setup ## set up, then run the system (ARGS="--detach" and the like go to `fairlead up`)
	@$(BIN)/fairlead up $(ARGS)

check: setup-dev ## the fast checks, about two minutes: format, lint, types, layers, unit and property tests
	@scripts/check.sh fast

test: setup-dev ## set up, then every check: the fast ones, contracts, integration, end to end, coverage
	@scripts/check.sh all

conformance: setup-dev ## the official conformance suite through the gateway, in every cell of eras and transports
	@PYTHONPATH=tests $(BIN)/python -m conformance $(ARGS)

bench: setup-dev ## measure speed and memory against nginx and other gateways; writes build/bench.json
	@$(BIN)/python -m bench $(ARGS)

fmt: setup-dev ## format the code and mend what the linter can
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

schema: setup ## write what is made from the code: the files' schemas, the page on settings, AsyncAPI
	@$(BIN)/fairlead config schema > config/mcp-servers.schema.json
	@$(BIN)/fairlead config schema application > config/application.schema.json
	@$(BIN)/fairlead config schema gitops > config/gitops.schema.json
	@$(BIN)/fairlead config docs > docs/settings.md
	@$(BIN)/fairlead config asyncapi > docs/asyncapi.json
	@$(BIN)/fairlead config asyncapi gitops > docs/asyncapi-gitops.json

lock: setup ## resolve the Python dependencies anew
	@scripts/lock.sh $(UV)

clean: ## remove what the other targets made
	@rm -rf $(VENV) .venvs build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
