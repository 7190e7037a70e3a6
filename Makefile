# The one list of commands. Needs Rust, Python 3.10 or later, a C compiler and make; it sets up the rest in .venv.

PYTHON ?= python3
REPO ?= .
# Of torture. The first round is everything; what is not random, killed or threaded is the same the next time.
ROUNDS ?= 10
SIZES ?= -1 0
AGAIN := tests/differential tests/faults tests/processes tests/contract/test_transactions.py tests/package/test_recipes.py
VENV := .venv
BIN := $(VENV)/bin
CARGO := cargo
LOCKED := --locked
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help demo test build lint fmt rust-test doc types python-test torture bench bench-quick wheel clean disks

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}'

demo: build $(VENV)/ready-demo ## code archaeology of this repository, or of REPO=/path
	@echo
	@$(BIN)/python demo/archaeology.py $(if $(filter .,$(REPO)),,"$(REPO)")

test: lint build rust-test doc types python-test ## everything; what CI runs

build: $(VENV)/ready-build ## compile the package into .venv, optimized
	$(BIN)/maturin develop --release --quiet

# Cheap things first: a test run should not take minutes to find a misplaced blank.
lint: $(VENV)/ready-develop ## formatting, clippy, ruff
	$(CARGO) fmt --all --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(CARGO) clippy $(LOCKED) --workspace --all-targets --quiet -- -D warnings

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

doc: ## the Rust documentation, without a broken link
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --workspace --no-deps --quiet

types: build $(VENV)/ready-develop ## pyright on the package, stubtest on the native module
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/python -m mypy.stubtest dolium._dolium

python-test: build $(VENV)/ready-develop disks ## pytest, with the examples of README, guide and docstrings
	$(BIN)/python -m pytest $(PYTEST)

# The tests of full disks make file systems of these kinds. One that cannot be made is a test that is skipped.
disks:
	@missing=; for needed in mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs; do \
		command -v $${needed%:*} >/dev/null || missing="$$missing $${needed#*:}"; done; \
	[ -z "$$missing" ] || { apt-get update -qq && apt-get install -qq -y $$missing; } >/dev/null 2>&1 </dev/null || \
		echo "python-test: without$$missing no tests of full disks of that kind" >&2

torture: build $(VENV)/ready-develop disks ## the random and the killing tests, again and again, with the hot tier and without: ROUNDS=10
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 DOLIUM_TORTURE=1 PROPTEST_CASES=2000 \
		$(CARGO) test $(LOCKED) --workspace --release --no-fail-fast -- --include-ignored
	@for round in $$(seq $(ROUNDS)); do \
		for size in $(SIZES); do \
			echo "round $$round of $(ROUNDS), hot_size $$size"; \
			DOLIUM_TORTURE=1 DOLIUM_HOT_SIZE=$$size $(BIN)/python -m pytest -q --timeout=1200 \
				$$([ $$round = 1 ] || echo $(AGAIN)) $(PYTEST) || exit; done; done

# The rivals live in an environment of their own. One that cannot be installed is named in the table.
bench: build bench/.venv/ready ## dolium beside other caches: bench/results/
	PYO3_BUILD_EXTENSION_MODULE=1 $(CARGO) build $(LOCKED) --release --quiet -p dolium-bench-bare
	$(CARGO) build $(LOCKED) --release --quiet -p dolium --example speed
	$(BIN)/python bench/compare.py --rivals bench/.venv/bin/python --native $(TARGET)/release $(BENCH)

bench-quick: BENCH = --quick
bench-quick: bench ## the same in two minutes, less exact

bench/.venv/ready: bench/rivals.txt | $(BIN)/python
	$(PYTHON) -m venv bench/.venv
	@sed 's/#.*//; /^ *$$/d' bench/rivals.txt | while read -r rival; do \
		bench/.venv/bin/python -m pip install --quiet "$$rival" || echo "bench: $$rival cannot be installed" >&2; done
	@command -v redis-server >/dev/null || { apt-get update -qq && apt-get install -qq -y redis-server; } >/dev/null || \
		echo 'bench: without redis-server no row for Redis' >&2
	@command -v strace >/dev/null || apt-get install -qq -y strace >/dev/null || \
		echo 'bench: without strace system calls are not counted' >&2
	@touch $@

wheel: $(VENV)/ready-build ## dist/*.whl for this Python
	$(BIN)/maturin build --release --out dist

clean: ## back to a fresh clone
	rm -rf target dist demo/out $(VENV) bench/.venv
	find python tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/dolium/_dolium.*.so

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'dolium needs Python 3.10 or later; name one: make PYTHON=python3.13' >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The Python at hand cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# ready-build, ready-demo, ready-develop: the dependency group of that name is installed.
$(VENV)/ready-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@
