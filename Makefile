# Needs make, git and python3 with venv; everything else is installed here, at first use.
#   make run     a minute of chaos on five real hosts
#   make test    everything that CI checks
#   make compiled   the inner loop of simulations, in C: twice as many seeds a second
#   make referee  the checkers against the referee on a million random histories, an hour of two cores
#   make bench   what is judged by time, as ratios

SHELL := /bin/bash
PYTHON ?= python3
SEED ?= 7
# Tests wait for hosts more than they compute: two processes take little more than half the time of one.
TESTERS ?= 2
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: run test check bench referee compiled host-packages test-packages clean

run: $(STAMP) host-packages
	$(VENV)/bin/onethrone run --hosts lab:5 --time-limit 60 --seed $(SEED)

test: $(STAMP) host-packages test-packages check compiled
	$(VENV)/bin/python -m pytest -m "not benchmark" -n $(TESTERS) --dist loadfile $(PYTEST_ARGS)

check: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(STAMP) host-packages test-packages compiled
	$(VENV)/bin/python -m pytest -m benchmark -s tests/benchmarks $(PYTEST_ARGS)

SEEDS ?= 1000000

referee: $(STAMP)
	$(VENV)/bin/python -m tests.checker.comparison --seeds $(SEEDS) --processes $$(nproc) --keep build/referee

compiled: $(STAMP)
	@tools/require cc:gcc /usr/include/stdio.h:libc6-dev
	@$(VENV)/bin/python -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || tools/require -f python3-dev
	@$(VENV)/bin/python -m harness.simulator.compiled

$(STAMP): requirements.lock pyproject.toml tools/require
	@tools/require $(PYTHON):python3
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/require -f python3-venv
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

host-packages:
	@tools/require sshd:openssh-server ssh:openssh-client nft:nftables ip:iproute2 faketime:faketime unshare:util-linux newuidmap:uidmap

# A browser for the tests of pages, shells for those of completion, real ZooKeeper beside our server, a Python 3.9 as hosts may have, sudo for users without root.
test-packages:
	@tools/require chromium:chromium javac:default-jdk-headless /usr/share/java/zookeeper.jar:zookeeper pypy3:pypy3 sudo:sudo ps:procps zsh:zsh fish:fish

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
