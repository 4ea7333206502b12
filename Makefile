# What a person types. uv does the installing, into .venv; nothing is written outside this folder.
#
#   make demo [PROMPT="…"]   one video from nothing: install, start, submit, watch, demo.mp4, stop
#   make run                 the whole system on http://127.0.0.1:8080, until Ctrl-C
#   make test                everyday tests    make lint    ruff and mypy; make format mends what ruff can
#   make bench               the benchmarks    make clean   all that was installed or made, jobs and videos too
#   make cluster             the system on the cluster that KUBECONFIG names, or on one that CLUSTER_UP starts
#   make test-cluster        its tests         make cluster-down   end what CLUSTER_UP started

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo run test lint format bench clean cluster cluster-down test-cluster

PROMPT ?= a red circle moving right
ARGS ?=
# A script that starts a cluster with Knative and KServe on this machine and prints what to source; none comes along.
CLUSTER_UP ?= ../shared/cluster/up

UV_VERSION := 0.13.9
# The first Python of the machine that the project supports.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
UV ?= $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)

export UV_CACHE_DIR ?= $(CURDIR)/.uv-cache
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null)
export PIP_NO_CACHE_DIR := 1

# --inexact: what the demo needs does not remove what the tests need.
SYNC = $(UV) sync --frozen --inexact --quiet --extra local

help:
	@sed -n 's/^#   //p' Makefile

demo: $(UV)
	@$(SYNC) --no-dev
	@.venv/bin/mochi demo "$$PROMPT" $(ARGS)
demo: export PROMPT := $(PROMPT)

run: $(UV)
	@$(SYNC) --no-dev
	@exec .venv/bin/mochi up $(ARGS)

test: $(UV)
	@$(SYNC)
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(UV)
	@$(SYNC)
	$(UV) lock --check --quiet
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: $(UV)
	@$(SYNC)
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

bench: $(UV)
	@$(SYNC)
	.venv/bin/python -m bench $(ARGS)

cluster: $(UV)
	@$(SYNC) --no-dev
	@.venv/bin/python -m tests.cluster.setup up --up $(CLUSTER_UP) --uv $(UV) $(ARGS)

test-cluster: $(UV)
	@$(SYNC)
	.venv/bin/python -m pytest -n 0 tests/cluster $(ARGS)

cluster-down: $(UV)
	@$(SYNC) --no-dev
	@.venv/bin/python -m tests.cluster.setup down --up $(CLUSTER_UP) $(ARGS)

clean:
	rm -rf .venv .uv-cache .tools .mochi .cluster demo.mp4 .mypy_cache .ruff_cache .pytest_cache

# Where the machine has no uv: from PyPI, into this folder.
.tools/uv/bin/uv:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12 or 3.13 is needed, and none is on the PATH" >&2; exit 1; }
	@echo "installing uv $(UV_VERSION) into .tools" >&2
	@rm -rf .tools/uv
	@$(PYTHON) -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || { \
		rm -rf .tools/uv; \
		echo "make: uv could not be installed. Debian and Ubuntu: apt install python3-venv; or install uv yourself" >&2; exit 1; }
