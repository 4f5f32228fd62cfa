# One command each. `make help` lists them; a second call of any costs nothing that the first already paid.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# What not everybody needs: import (files in and out: pyarrow), excel (workbooks), client (the Python client: httpx), nats or kafka (a replica of a shard: nats-py, confluent-kafka); with a comma, both.
EXTRAS ?=
COMMA := ,
WITH_EXTRAS := $(patsubst %,$(VENV)/with-%,$(subst $(COMMA), ,$(EXTRAS)))
CHECKED := hft_mmap api contrib tests perf

.PHONY: help serve venv install uninstall deb dist test-install systemd-tests audit test check bench bench-save bench-compare figures report
.PHONY: gate gate-proof test-gate flamegraph memprofile syscalls peers test-peers test-versions stress brute-force coverage simulate simulate-cluster torture torture-cluster cluster-demo test-kafka fuzz lock assets screenshot clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/warm $(WITH_EXTRAS) ## install if needed, then start the service on 127.0.0.1:8080 (ARGS="--config FILE" EXTRAS=import)
	exec $(BIN)/hft-mmap serve $(ARGS)

venv: $(VENV)/warm $(WITH_EXTRAS) ## install into .venv and compile the kernels, without starting anything (EXTRAS=import,client)

# On a machine that runs it for good. DESTDIR (an empty one for real), PREFIX and the others may be set as usual.
DESTDIR ?=
PREFIX := /opt/hft-mmap
LIBDIR := /usr/local/lib
BINDIR := /usr/local/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# A release never lies where another one runs from.
RELEASE := $(VERSION)-$(shell date -u +%Y%m%d%H%M%S)
SYSTEM_PYTHON ?= /usr/bin/python3

install: ## install for systemd: /opt/hft-mmap, units, /etc/hft-mmap; again: upgrade (sudo; docs/operations.md)
	@[[ -n "$(DESTDIR)" || $$(id -u) == 0 ]] || { echo "make: only root can install; try: sudo make install" >&2; exit 1; }
	PYTHON=$(SYSTEM_PYTHON) EXTRAS=$(EXTRAS) DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) BINDIR=$(BINDIR) systemd/stage $(RELEASE)
	@[[ -n "$(DESTDIR)" ]] || systemd/activate $(PREFIX) $(LIBDIR) $(RELEASE)

uninstall: ## stop the service and remove it; settings, data, logs and the user stay, unless PURGE=1
	@[[ -n "$(DESTDIR)" ]] || systemd/deactivate
	rm -rf $(DESTDIR)$(PREFIX) $(DESTDIR)$(BINDIR)/hft-mmap $(DESTDIR)/var/cache/hft-mmap
	rm -f $(DESTDIR)$(LIBDIR)/systemd/system/hft-mmap{,@}.{service,socket} $(DESTDIR)$(LIBDIR)/systemd/system/hft-mmap-shard@.service
	rm -f $(DESTDIR)$(LIBDIR)/{sysusers,tmpfiles}.d/hft-mmap.conf
	@[[ -n "$(DESTDIR)" || ! -d /run/systemd/system ]] || systemctl daemon-reload
ifeq ($(PURGE),1)
	rm -rf $(DESTDIR)/etc/hft-mmap $(DESTDIR)/var/lib/hft-mmap $(DESTDIR)/var/log/hft-mmap
	@[[ -n "$(DESTDIR)" ]] || userdel hft-mmap
endif

deb: ## build dist/hft-mmap_VERSION_amd64.deb, which installs without a network
	PYTHON=$(SYSTEM_PYTHON) EXTRAS=$(EXTRAS) systemd/deb $(VERSION) dist/hft-mmap_$(VERSION)_amd64.deb

dist: $(VENV)/created ## build wheel and source into dist/, check both and try them in fresh environments (TRY=one, TRY=none)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	TRY=$(TRY) .ci/dist

test-install: $(VENV)/dev ## install, upgrade under load and remove, in a machine of its own; needs root and the network
	$(BIN)/python -m pytest -m install --timeout 1200 tests/systemd $(ARGS)

systemd-tests: $(VENV)/dev $(VENV)/warm ## run the tests under a real systemd, and write docs/systemd-tests.md; needs root and the network
	@mkdir -p build
	$(BIN)/python -m pytest tests/systemd --junitxml build/systemd-tests.xml $(ARGS)
	$(BIN)/python -m pytest -m install --timeout 1200 tests/systemd --junitxml build/systemd-install.xml $(ARGS)
	$(BIN)/python -m tests.systemd.report build/systemd-tests.xml build/systemd-install.xml

# Neither is installed with what it looks at, so both are pinned here.
UV := uv==0.13.9
PIP_AUDIT := pip-audit@2.10.1

# Strict: a package that the databases could not be asked about is a failure as well, not a pass.
audit: $(VENV)/created ## ask the advisory databases about every pinned package; needs the network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv tool run $(PIP_AUDIT) --strict --require-hashes --disable-pip --requirement requirements.lock
	$(BIN)/uv tool run $(PIP_AUDIT) --strict --require-hashes --disable-pip --requirement requirements-dev.lock

# Only where all run: starting the processes costs seconds. The tests of a file stay together, for they share services.
# Two more than there are cores, up to six: half of their time tests wait for a disk, a clock or another process.
WORKERS := $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 2 : 6)))
ON_ALL_CORES := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/dev $(VENV)/warm ## run the tests (ARGS="tests/api -k ready")
	$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),$(ON_ALL_CORES))

check: $(VENV)/dev ## lint, format, types, order of imports, documents, units
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CHECKED)
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python .ci/check_docs.py
	$(BIN)/python .ci/check_units.py

bench: $(VENV)/dev $(VENV)/warm ## run the benchmarks of perf/ (minutes; see perf/README.md)
	$(BIN)/python -m perf $(ARGS)

bench-save: $(VENV)/dev $(VENV)/warm ## run them and keep the result in perf/results (LABEL=before)
	$(BIN)/python -m perf.history save $(LABEL) $(ARGS)

bench-compare: $(VENV)/dev ## compare two results that were kept (A=before B=after)
	$(BIN)/python -m perf.history compare $(A) $(B) $(ARGS)

figures: $(VENV)/dev $(VENV)/warm ## measure every promised figure and write the table of perf/README.md
	$(BIN)/python -m perf.figures $(ARGS)

report: $(VENV)/dev $(VENV)/warm $(VENV)/profilers ## measure, and write perf/REPORT.md and perf/HIGHLIGHTS.md with their plots
	$(BIN)/python -m perf.report $(ARGS)

AGAINST ?= HEAD~1

# make itself ends with 2 whatever a command ends with; who needs to tell 1 from 2 calls `.venv/bin/python -m perf.gate`.
gate: $(VENV)/dev ## fail if a guarded case is slower than in another revision (AGAINST=HEAD~1)
	$(BIN)/python -m perf.gate --against $(AGAINST) $(ARGS)

gate-proof: $(VENV)/dev ## try the gate on identical code and on code made a fifth slower: 25 minutes
	$(BIN)/python -m perf.proof $(ARGS)

test-gate: $(VENV)/dev ## the tests of the gate at full size: three cases made a fifth slower, each caught; minutes
	$(BIN)/python -m pytest -m gate_proof --timeout 1200 tests/perf $(ARGS)

# Profile the service under one load: stats, stats_all, add_batch or add_batch_10000.
OF ?= add_batch

flamegraph memprofile: $(VENV)/dev $(VENV)/profilers ## profile time (SVG) or memory (HTML) of the service (OF=stats)
	$(BIN)/python -m perf.profiling $@ $(OF) $(ARGS)

syscalls: $(VENV)/dev ## count the system calls of the service (OF=stats); needs strace
	$(BIN)/python -m perf.profiling $@ $(OF) $(ARGS)

$(VENV)/profilers: $(VENV)/installed perf/requirements-profile.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r perf/requirements-profile.txt
	@touch $@

# A venv of its own: the project needs none of these packages, and its locks stay free of them.
PEERS_VENV := .venv-peers
POINTS ?= 1000000

peers: $(VENV)/dev $(VENV)/warm $(PEERS_VENV)/installed $(PEERS_VENV)/questdb.jar ## do the same work with other stores (POINTS=100000000: 20 minutes; perf/peers/README.md)
	$(BIN)/python -m perf.peers --points $(POINTS) $(ARGS)

# The interpreter of .venv, so that all are measured on one.
$(PEERS_VENV)/installed: perf/peers/requirements.txt | $(VENV)/created
	"$$($(BIN)/python -c 'import sys; print(sys._base_executable)')" -m venv --clear $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r $<
	@touch $@

# A jar of 30 MB from Maven Central; it runs on the Java of Debian (openjdk-17-jre-headless).
QUESTDB := https://repo1.maven.org/maven2/org/questdb/questdb/9.3.4/questdb-9.3.4.jar
QUESTDB_SHA256 := 939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062

$(PEERS_VENV)/questdb.jar: | $(PEERS_VENV)/installed
	curl --fail --silent --show-error --location --output $@.part $(QUESTDB)
	echo "$(QUESTDB_SHA256)  $@.part" | sha256sum --check --quiet
	mv $@.part $@

test-peers: $(VENV)/dev $(VENV)/warm $(PEERS_VENV)/installed $(PEERS_VENV)/questdb.jar ## the tests of adapters to other stores, on little data, and of their clients
	$(BIN)/python -m pytest -m peers --timeout 600 tests/perf tests/http_clients $(ARGS)

test-versions: $(VENV)/dev ## try the lowest and the newest dependencies that pyproject.toml allows; needs the network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/python -m pytest -m versions --timeout 1200 tests/versions $(ARGS)

stress: $(VENV)/dev $(VENV)/warm ## run the tests at real size: 150,000,001 points, gigabytes of disk, minutes
	$(BIN)/python -m pytest -m stress --timeout 3600 $(ARGS)

# Kafka is a hundred jars of Maven Central, 54 MB, on the Java of Debian (openjdk-17-jre-headless).
KAFKA := .kafka
JARS_OF_kafka := $(KAFKA)/complete

$(KAFKA)/complete: tests/cluster/kafka.sha256 .ci/kafka-jars
	.ci/kafka-jars $(KAFKA)
	@touch $@

test-kafka: $(VENV)/dev $(VENV)/warm $(KAFKA)/complete ## the tests with three brokers of Kafka; needs Java
	$(BIN)/python -m pytest -m kafka tests/cluster $(ARGS)

LOG ?= nats

cluster-demo: $(VENV)/dev $(VENV)/warm $(JARS_OF_$(LOG)) ## two shards with their log and HAProxy on this machine, until Ctrl+C; needs haproxy (LOG=kafka)
	$(BIN)/hft-mmap cluster demo --log $(LOG) $(ARGS)

brute-force: $(VENV)/dev $(VENV)/warm ## hold every statistic of 120,000 random windows against exact arithmetic: minutes
	$(BIN)/python -m pytest -m brute_force --timeout 3600 tests/hft_mmap/test_brute_force.py $(ARGS)

# Those that use the library: itself, its client, and the commands that import and export.
COVERING := tests/hft_mmap tests/client tests/typing tests/fuzz tests/api/test_transfer.py tests/torture/test_opening.py

coverage: $(VENV)/dev $(VENV)/warm ## measure which branches of hft_mmap its tests reach; fails below 98 %
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(COVERING) --timeout 600 $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

simulate: $(VENV)/dev $(VENV)/warm ## histories of the store on a simulated disk, each from its seed (SEED=0 HISTORIES=10000)
	$(BIN)/python -m tests.torture.simulate --seed $(or $(SEED),0) --histories $(or $(HISTORIES),10000)

simulate-cluster: $(VENV)/dev $(VENV)/warm ## histories of replicas over a log that loses, repeats and delays, and of symbols that move (SEED=0 HISTORIES=10000)
	$(BIN)/python -m tests.cluster.simulate --seed $(or $(SEED),0) --histories $(or $(HISTORIES),10000)

torture-cluster: $(VENV)/dev $(VENV)/warm $(JARS_OF_$(LOG)) ## kill, freeze and restart replicas and servers of their log for a while (SECONDS=600 SEED=1 LOG=kafka)
	CLUSTER_LOG=$(LOG) CLUSTER_SECONDS=$(or $(SECONDS),600) CLUSTER_SEED=$(SEED) $(BIN)/python -m pytest -m torture --timeout 0 -s tests/cluster $(ARGS)

torture: $(VENV)/dev $(VENV)/warm ## kill, cut power and fail calls for a while (SECONDS=600 SEED=1 KILLS=10000 CUTS=2000 RECORD=FILE.md)
	TORTURE_SECONDS=$(or $(SECONDS),600) TORTURE_SEED=$(SEED) TORTURE_REPORT=$(REPORT) TORTURE_KILLS=$(KILLS) TORTURE_CUTS=$(CUTS) TORTURE_RECORD=$(RECORD) $(BIN)/python -m pytest -m torture --timeout 0 tests/torture tests/client tests/hostile tests/api $(ARGS)

fuzz: $(VENV)/dev $(VENV)/warm $(VENV)/fuzzer ## feed the readers inputs that reach new code (SECONDS=60 HARNESS=body)
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60) $(HARNESS)

$(VENV)/fuzzer: $(VENV)/installed tests/fuzz/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -r tests/fuzz/requirements.txt
	@touch $@

# The environment. Each stamp is written last, so that whatever failed half-way is done again.

# Where its Python is gone (after an upgrade of the distribution), or this folder was moved, its scripts start no more.
_ := $(shell cd -P . && { [[ ! -e $(VENV)/created ]] || { $(BIN)/python -c '' && \
  [[ ! -s $(VENV)/created || "$$(< $(VENV)/created)" == "$$PWD" ]]; }; } 2>/dev/null || rm -f $(VENV)/created)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=/usr/bin/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' \
	  || { echo "make: for the Python of $(PYTHON) not every dependency has a package; name one from 3.11 to 3.13: make PYTHON=/usr/bin/python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) has no venv or ensurepip; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@pwd -P > $@

# setuptools is in the lock too: `--no-build-isolation` builds with it, and nothing without a hash is downloaded.
$(VENV)/installed: $(VENV)/created requirements.lock pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/with-%: $(VENV)/installed requirements-%.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-$*.lock
	@touch $@

$(VENV)/dev: $(VENV)/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

# numba keeps the compiled kernels on disk; doing it here keeps it out of the first start and of every request.
$(VENV)/warm: $(VENV)/installed $(wildcard hft_mmap/tree/*.py hft_mmap/warm.py)
	$(BIN)/python -m hft_mmap.warm
	@touch $@

# Raise a version: `make lock ARGS="--upgrade-package numpy"`, or `--upgrade` for all. Without ARGS the pins stay.
LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
  --fork-strategy fewest --custom-compile-command "make lock"

lock: $(VENV)/created pyproject.toml ## write requirements*.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(LOCK) --group build --output-file requirements.lock $(ARGS)
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock $(ARGS)
	$(LOCK) --extra import --constraint requirements-dev.lock --output-file requirements-import.lock $(ARGS)
	$(LOCK) --extra excel --constraint requirements-dev.lock --output-file requirements-excel.lock $(ARGS)
	$(LOCK) --extra client --constraint requirements-dev.lock --output-file requirements-client.lock $(ARGS)
	$(LOCK) --extra nats --constraint requirements-dev.lock --output-file requirements-nats.lock $(ARGS)
	$(LOCK) --extra kafka --constraint requirements-dev.lock --output-file requirements-kafka.lock $(ARGS)

assets: $(VENV)/created ## fetch what the dashboard ships of others anew (needs npm; .ci/assets names the versions)
	$(BIN)/python .ci/vendor.py

screenshot: $(VENV)/dev $(VENV)/warm ## take the pictures of the dashboard in README.md and docs/, of a running demo; needs Chromium
	$(BIN)/python .ci/screenshot.py

clean: ## remove the environment and everything generated; data/ and logs/ stay
	rm -rf $(VENV) $(PEERS_VENV) $(KAFKA) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
