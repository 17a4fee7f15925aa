# Everything a person or CI runs. `make demo` and `make test` install what they need on a bare Debian 12 or 13.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: help
help: ## what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# One stamp per list of packages: a changed list installs again.
PACKAGES := $(shell sed 's/ *\#.*//' lab/packages.txt 2>/dev/null)
STAMPS := .venv/stamps

$(STAMPS)/packages: lab/packages.txt
	@[ "$$(id -u)" = 0 ] || { echo "The lab needs root: run 'sudo make $(MAKECMDGOALS)'." >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/python: pyproject.toml uv.lock
	@python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq --no-install-recommends python3-venv
	@[ -x .venv/bin/pip ] || python3 -m venv .venv
	.venv/bin/pip install --quiet uv
	UV_PROJECT_ENVIRONMENT=.venv .venv/bin/uv sync --frozen --quiet --inexact
	@mkdir -p $(STAMPS) && touch $@

.PHONY: setup
setup: $(STAMPS)/python ## the Python environment in .venv (shoal, shoal-lab)

.PHONY: demo
demo: $(STAMPS)/packages $(STAMPS)/python ## a lab of three hosts, one command, a crash, and the proof that nothing was lost
	.venv/bin/python -m lab.demo

# The lab waits more than it computes, so the tests on a small Ceph run beside it, and give way to it.
.PHONY: test quick images
test: $(STAMPS)/packages $(STAMPS)/python ## all tests; about an hour on two cores
	$(MAKE) --jobs=2 --output-sync=target quick images
	$(MAKE) --jobs=2 --output-sync=target test-ceph test-lab

quick:
	$(MAKE) lint
	$(MAKE) test-unit

images: $(STAMPS)/packages $(STAMPS)/python
	nice .venv/bin/shoal-lab images

.PHONY: lint
lint: $(STAMPS)/python ## style, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# A test that hangs says where, and fails: $(call within,SECONDS).
within = -o faulthandler_timeout=$(1) -o faulthandler_exit_on_timeout=true

# Twice as many as there are cores: many of them wait for a time-out.
.PHONY: test-unit
test-unit: $(STAMPS)/python ## tests that need neither root nor the lab
	.venv/bin/pytest -q --numprocesses=$$((2 * $$(nproc))) --dist=loadfile --max-worker-restart=0 $(call within,300) -m "not lab and not ceph"

.PHONY: test-ceph
test-ceph: $(STAMPS)/packages $(STAMPS)/python ## the volume service against a small real Ceph
	nice .venv/bin/pytest -q $(call within,900) -m "ceph and not long"

.PHONY: test-lab
test-lab: $(STAMPS)/packages $(STAMPS)/python ## whole pools: apply, kills, a crashed host
	.venv/bin/pytest -q $(call within,2400) -m "lab and not long" -x --durations=25 --durations-min=10

.PHONY: test-long
test-long: $(STAMPS)/packages $(STAMPS)/python ## the tests in the lab, those that make test leaves out, too; over an hour
	.venv/bin/pytest -q -m "ceph and long"
	.venv/bin/pytest -q -m lab --ignore=tests/lab/test_existing.py
	.venv/bin/pytest -q -m lab tests/lab/test_existing.py  # hosts have joined and left by then: in a lab of its own

.PHONY: bench
bench: $(STAMPS)/packages $(STAMPS)/python ## figures as JSON: the driver's calls, apply, the data path
	@.venv/bin/python -m tests.bench

SECONDS ?= 600
.PHONY: fuzz
fuzz: $(STAMPS)/python ## a coverage-guided fuzzer on the driver's dispatcher, ten minutes or SECONDS=…
	UV_PROJECT_ENVIRONMENT=.venv .venv/bin/uv sync --frozen --quiet --inexact --group fuzz
	@mkdir -p .fuzz
	.venv/bin/python -m dom0.tests.fuzz.coverage -max_total_time=$(SECONDS) -artifact_prefix=.fuzz/

.PHONY: chaos
chaos: $(STAMPS)/packages $(STAMPS)/python ## faults on a whole lab while VMs write; an hour with SECONDS=3600, again with SEED=…
	.venv/bin/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)
