# make demo    a full report: of this machine where it can be observed, else of the simulator
# make test    every test; boots real kernels where QEMU and the kernels can be had
# make check   ruff and mypy
# make bench   every comparison with other tools, and docs/performance.md from the results (NAMES="start sizes": some)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := build/wheel-venv
GUEST_PACKAGES := qemu-system-x86 busybox-static python3-bpfcc bpftool gcc libc6-dev kmod file zstd systemd
PEER_PACKAGES := trace-cmd bpftrace linux-perf

.PHONY: setup demo test test-quick test-slow test-wheel test-kernels kernels check bench clean

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: setup
	if $(BIN)/binder-observe doctor >/dev/null; then $(BIN)/binder-observe --duration 10; \
	else $(BIN)/binder-observe --simulate memory-pressure; fi

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check test-quick test-slow test-wheel test-kernels

test-quick: setup
	$(BIN)/python -m pytest -n auto -m 'not kernel and not slow and not browser'

# What takes long on the processor, or needs a browser, tmux or Prometheus (skipped with the reason where there is
# none, but under CI=true that is a failure).
test-slow: setup
	sh tests/install.sh "tests in a browser" chromium chromium-driver
	sh tests/install.sh "tests of top in a terminal" tmux
	sh tests/install.sh "tests with a real Prometheus" prometheus
	sh tests/install.sh "tests of the service" systemd
	$(BIN)/python -m pytest -n auto -m 'slow'
	$(BIN)/python -m pytest -m 'browser'

# The quick tests once more, against the wheel as a user installs it: away from the checkout, which would be imported.
test-wheel: setup
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/dist .
	$(PYTHON) -m venv --without-pip $(WHEEL_VENV)
	$(BIN)/python -m pip --python $(WHEEL_VENV)/bin/python install --quiet --no-deps build/dist/*.whl
	$(BIN)/python -c "import site, pathlib; \
	  pathlib.Path('$(WHEEL_VENV)/lib').glob('python*/site-packages').__next__().joinpath('dependencies.pth') \
	  .write_text(site.getsitepackages()[0] + '\n')"
	mkdir -p build/away && cp -r bench tests pyproject.toml build/away/
	cd build/away && ../../$(WHEEL_VENV)/bin/python -m pytest -n auto -m 'not kernel and not slow and not browser and not checkout'

# Fetches the kernels once; skipped with the reason where that cannot be, but under CI=true that is a failure.
kernels: setup
	sh tests/install.sh "tests on real kernels" $(GUEST_PACKAGES)
	$(BIN)/python -m tests.kernels.kernels || [ "$$CI" != true ]

test-kernels: kernels
	$(BIN)/python -m pytest -m kernel

bench: setup
	sh tests/install.sh "comparisons in a guest" $(GUEST_PACKAGES) $(PEER_PACKAGES)
	$(BIN)/python -m bench $(NAMES)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
