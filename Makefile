# Everything a person or CI runs. `make demo` and `make test` install what they need on a bare Debian 12 or 13.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: help
help: ## what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/ready: pyproject.toml uv.lock
	@python3 -m venv --help >/dev/null 2>&1 || apt-get install -y --no-install-recommends python3-venv
	python3 -m venv .venv
	.venv/bin/pip install --quiet uv
	UV_PROJECT_ENVIRONMENT=.venv .venv/bin/uv sync --frozen --quiet --inexact
	touch $@

.PHONY: setup
setup: .venv/ready ## the Python environment in .venv

.PHONY: lint
lint: .venv/ready ## style, types, layers, Python 3.6 in dom0
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: test-unit
test-unit: .venv/ready ## all tests that need neither root nor the lab
	.venv/bin/pytest -q -m "not lab and not ceph"
