# `make` lists the targets. Everything Python happens in a virtual environment of its own, .venv.

PYTHON  ?= python3
VENV    ?= .venv
# dev builds fast; `make build PROFILE=release` builds what users get.
PROFILE ?= dev
# More arguments for pytest: make test ARGS="-k chapter"
ARGS    ?=

BIN := $(VENV)/bin
# maturin develop installs into the environment that VIRTUAL_ENV names.
RUN := env -u CONDA_PREFIX VIRTUAL_ENV="$(abspath $(VENV))" PATH="$(abspath $(BIN)):$(PATH)"

SOURCES := Cargo.toml pyproject.toml $(wildcard Cargo.lock build.rs) $(shell find src -name '*.rs' -o -name '*.wgsl')
BUILT   := $(VENV)/built-$(PROFILE)
FLAGS   := $(if $(filter release,$(PROFILE)),--release)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv build wheel demo demo-gpu test check bench pictures stubs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the environment: stamp files keep repeated runs quick

$(VENV)/created:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: oxgrad needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo-tools: requirements-demo.txt $(VENV)/created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-demo.txt
	@touch $@

$(VENV)/dev-tools: requirements-dev.txt requirements-demo.txt $(VENV)/created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/demo-tools

$(BUILT): $(SOURCES) | $(VENV)/demo-tools
	@command -v cargo >/dev/null || { echo "error: cargo not found; oxgrad needs a Rust toolchain" >&2; exit 1; }
	$(RUN) maturin develop $(FLAGS)
	@rm -f $(VENV)/built-*
	@touch $@

venv: $(VENV)/dev-tools ## make .venv with the development tools

build: $(BUILT) ## compile the Rust core and install oxgrad into .venv

wheel: $(VENV)/demo-tools ## build the wheel that users get, into dist/
	rm -rf dist
	$(RUN) maturin build --release --out dist

# --- what to do with it

demo: $(BUILT) ## run the autograd chapter and show it, checking every printed value
	@$(BIN)/python tools/run_page.py docs/autograd_chapter.md --show

demo-gpu: $(VENV)/dev-tools $(BUILT) ## the chapter and the digits example on a GPU, compared with the CPU
	@$(BIN)/python tools/run_page.py docs/autograd_chapter.md --ctx gpu
	@$(BIN)/python examples/mlp_digits.py --epochs 2 --ctx gpu --compare

test: $(VENV)/dev-tools $(BUILT) ## run all tests: cargo test and pytest, documentation included
	cargo test --no-default-features
	$(BIN)/python -m pytest -q -n auto $(ARGS)

check: $(VENV)/dev-tools $(BUILT) ## formatting, lints and types; the same as CI
	cargo fmt --check
	cargo clippy --all-targets --no-default-features -- -D warnings
	$(RUN) cargo clippy --all-targets --features python -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m oxgrad.stubgen --check
	$(BIN)/python -m mypy.stubtest oxgrad --mypy-config-file pyproject.toml --allowlist tools/stubtest_allowlist.txt --ignore-unused-allowlist

bench: $(VENV)/demo-tools ## compare speed with other libraries (the Rust kernels alone: cargo bench)
	$(MAKE) build PROFILE=release
	$(BIN)/python benches/run.py

pictures: $(VENV)/demo-tools ## draw the scaling curves of docs/performance.md again
	$(MAKE) build PROFILE=release
	$(BIN)/python -m pip install --quiet --disable-pip-version-check matplotlib
	$(BIN)/python benches/run.py --scaling --pictures docs/img

stubs: $(BUILT) ## print the .pyi files again, from the op records
	$(BIN)/python -m oxgrad.stubgen

clean: ## remove everything that was built, .venv included
	rm -rf target dist .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find python tools tests examples benches \( -name __pycache__ -o -name '*.so' \) -prune -exec rm -rf {} +
