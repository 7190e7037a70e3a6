# The one list of commands. Needs Rust, Python 3.10 or later, a C compiler and make; `make setup` installs the rest.

PYTHON ?= python3
REPO ?= .
# Of torture. The first round is everything; what is not random, killed or threaded is the same the next time.
ROUNDS ?= 10
SIZES ?= -1 0
AGAIN := tests/differential tests/faults tests/processes tests/contract/test_transactions.py tests/package/test_recipes.py
# A Python that is named has an environment of its own, so that no command runs on one that was named before.
ifndef VENV
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venvs/$(shell $(PYTHON) -c 'import platform, sys; print(platform.python_version() + sys.abiflags)')
endif
endif
BIN := $(VENV)/bin
CARGO := cargo
LOCKED := --locked
TARGET := $(or $(CARGO_TARGET_DIR),target)
MATURIN := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin
# What maturin tells PyO3, told by each command that compiles it, so that none of them compiles it again.
PYO3 = PYO3_PYTHON=$(abspath $(BIN))/python PYO3_BUILD_EXTENSION_MODULE=1 \
	PYO3_ENVIRONMENT_SIGNATURE=$$($(BIN)/python -c 'import sys; print("cpython-%d.%d-64bit" % sys.version_info[:2])')
# A worker for each core. Tests of one `xdist_group` run in one worker, one after the other.
WORKERS ?= auto
PYTEST_ALL := $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help setup programs demo test test-all test-pythons build extension lint deny commits fmt rust-test doc types stub \
	python-test torture fuzz bench bench-quick wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/ready-develop programs ## install what is missing: Python packages in .venv, programs with apt-get

# The tests of full disks make file systems of these kinds. One that cannot be made is a test that is skipped.
programs:
	@sh tools/programs.sh \
		'mkfs.ext4:e2fsprogs:tests of full disks with ext4' \
		'mkfs.xfs:xfsprogs:tests of full disks with xfs' \
		'mkfs.btrfs:btrfs-progs:tests of full disks with btrfs'

demo: build $(VENV)/ready-demo ## code archaeology of this repository, or of REPO=/path
	@echo
	@$(BIN)/python demo/archaeology.py $(if $(filter .,$(REPO)),,"$(REPO)")

test: lint rust-test doc types python-test ## what CI runs; PYTHON=python3.13 names another Python

test-all: PYTEST += --all-backends
test-all: OPTIMIZED := --release
test-all: test ## the same on an optimized build, with the backends that share their code with another

# Rust is tested once, Python on each. All are tried, even when one fails.
test-pythons: lint rust-test doc types ## everything, and the Python tests on every interpreter that this machine has
	@failed=; for python in $$($(PYTHON) tools/pythons.py); do \
		echo "python-test: $$python"; \
		$(MAKE) --no-print-directory python-test PYTHON="$$python" || failed="$$failed $$python"; done; \
	[ -z "$$failed" ] || { echo "python-test: failed on$$failed" >&2; exit 1; }

build: $(VENV)/ready-build ## compile the package into .venv, optimized
	$(MATURIN) develop --release --quiet

# Shares what it compiles with the Rust tests, and checks what an optimized build does not: overflow, debug assertions.
extension: $(VENV)/ready-build
	$(MATURIN) develop --quiet $(OPTIMIZED)

# Cheap things first: a test run should not take minutes to find a misplaced blank.
lint: $(VENV)/ready-develop deny ## formatting, clippy, ruff, English, arrows and dependencies
	$(CARGO) fmt --all --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/english.py
	$(BIN)/python tools/arrows.py
	@said=$$(PYTHONPATH=python $(BIN)/lint-imports --no-cache) || { echo "$$said" >&2; exit 1; }
	$(PYO3) $(CARGO) clippy $(LOCKED) --workspace --all-targets --quiet -- -D warnings

# Every command here runs on the oldest Rust that the crates promise, so each of them checks that promise.
deny: $(VENV)/ready-develop
	@oldest=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
		grep -q "^channel = \"$$oldest\.[0-9]*\"" rust-toolchain.toml || \
		{ echo "rust-toolchain.toml: must name Rust $$oldest, which Cargo.toml promises" >&2; exit 1; }
	$(BIN)/cargo-deny $(LOCKED) --log-level error check bans licenses sources

BASE ?= origin/main
commits: ## the messages of the commits since BASE=origin/main
	@$(PYTHON) tools/hooks/commit-msg --since $(BASE)

fmt: $(VENV)/ready-develop ## put both languages into shape
	$(CARGO) fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# nextest runs each test in its own process, several at once; cargo test does where it is missing.
rust-test: ## tests and examples of the crates
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
		then set -x; $(CARGO) nextest run $(LOCKED) --workspace --no-fail-fast; \
		else set -x; $(CARGO) test $(LOCKED) --workspace --lib --bins --tests --no-fail-fast; fi
	$(CARGO) test $(LOCKED) --workspace --doc --quiet
	@for example in $(basename $(notdir $(wildcard examples/rust/*.rs))); do \
		(set -x; $(CARGO) run $(LOCKED) --quiet -p dolium --example $$example) || exit; done

doc: ## the Rust documentation, without a broken link
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --workspace --no-deps --quiet

types: extension $(VENV)/ready-develop ## pyright and mypy, stubtest on the native module, docstrings in its stub
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m mypy --strict --follow-imports=silent tests/typed
	$(BIN)/python -m mypy.stubtest dolium._dolium
	$(BIN)/python tools/stub_docstrings.py --check

stub: extension $(VENV)/ready-develop ## copy the docstrings of the native module into its stub
	$(BIN)/python tools/stub_docstrings.py
	$(BIN)/ruff format --quiet python/dolium/_dolium.pyi

python-test: extension $(VENV)/ready-test programs ## pytest, with the examples of README, guide and docstrings
	$(PYTEST_ALL) $(PYTEST)

torture: build $(VENV)/ready-test programs ## the random and the killing tests, again and again, with the hot tier and without: ROUNDS=10
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 DOLIUM_TORTURE=1 PROPTEST_CASES=2000 \
		$(CARGO) test $(LOCKED) --workspace --release --no-fail-fast -- --include-ignored
	@for round in $$(seq $(ROUNDS)); do \
		for size in $(SIZES); do \
			echo "round $$round of $(ROUNDS), hot_size $$size"; \
			DOLIUM_TORTURE=1 DOLIUM_HOT_SIZE=$$size $(PYTEST_ALL) -q --all-backends --timeout=1200 \
				$$([ $$round = 1 ] || echo $(AGAIN)) $(PYTEST) || exit; done; done

# What `make test` runs for a moment, for SECONDS each: with libFuzzer where a nightly Rust and cargo-fuzz are installed.
SECONDS ?= 60
FUZZ := pickle msgpack frame tier_records
fuzz: ## hostile bytes for the readers: SECONDS=60 for each target
	@if $(CARGO) +nightly fuzz --version >/dev/null 2>&1; then set -e; for target in $(FUZZ); do \
		mkdir -p fuzz/corpus/$$target; \
		(set -x; $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS)); done; \
	else echo 'fuzz: no nightly Rust with cargo-fuzz: running the tests of the targets instead' >&2; \
		PROPTEST_CASES=$$(($(SECONDS) * 2000)) $(CARGO) test $(LOCKED) -p dolium-cli --test fuzz --release; fi

# The rivals live in an environment of their own. One that cannot be installed is named in the table.
bench: build bench/.venv/ready ## dolium beside other caches: bench/results/
	$(PYO3) $(CARGO) build $(LOCKED) --release --quiet -p dolium-bench-bare
	$(CARGO) build $(LOCKED) --release --quiet -p dolium-bench-speed
	$(BIN)/python bench/compare.py --rivals bench/.venv/bin/python --native $(TARGET)/release $(BENCH)

bench-quick: BENCH = --quick
bench-quick: bench ## the same in two minutes, less exact

bench/.venv/ready: bench/rivals.txt | $(BIN)/python
	$(PYTHON) -m venv bench/.venv
	@sed 's/#.*//; /^ *$$/d' bench/rivals.txt | while read -r rival; do \
		bench/.venv/bin/python -m pip install --quiet "$$rival" || echo "bench: $$rival cannot be installed" >&2; done
	@sh tools/programs.sh 'redis-server:redis-server:the row for Redis' 'strace:strace:the count of system calls'
	@touch $@

wheel: $(VENV)/ready-build ## dist/*.whl for this Python
	$(MATURIN) build --release --out dist

clean: ## back to a fresh clone
	rm -rf target fuzz/target fuzz/corpus fuzz/artifacts dist demo/out .venv .venvs bench/.venv
	find python tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/dolium/_dolium.*.so

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'dolium needs Python 3.10 or later; name one: make PYTHON=python3.13' >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The Python at hand cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# ready-build, ready-demo, ready-test, ready-develop: the dependency group of that name is installed.
$(VENV)/ready-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@
