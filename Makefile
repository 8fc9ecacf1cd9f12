# Every target depends on .venv (or node_modules), so a new clone needs nothing but `make demo` or `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

JAVASCRIPT := clients/javascript
JAVASCRIPT_STAMP := $(JAVASCRIPT)/node_modules/.installed

.PHONY: install demo dev test style types unit integration javascript browser vendor soak bench lock fmt clean docs

install: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml clients/python/pyproject.toml clients/bots/pyproject.toml clients/arena/pyproject.toml
	@bash deploy/scripts/require-tools.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e clients/python -e clients/bots -e clients/arena -e .
	@touch $@

demo: install
	$(BIN)/gamebus demo $(ARGS)

dev: install
	$(BIN)/gamebus dev $(ARGS)

test: style types unit javascript integration browser

style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

# Without promtool, where it cannot be had, the tests that need it are named as skipped.
unit: install
	-@timeout 120 bash deploy/scripts/require-tools.sh promtool
	$(BIN)/python -m pytest -q -n 2 tests --ignore=tests/integration --ignore=tests/browser

# Two files at a time, since most of each is waiting; the verifier judges what waits, and has the machine to itself.
integration: install $(JAVASCRIPT_STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/integration --ignore=tests/integration/test_verify.py
	$(BIN)/python -m pytest -q tests/integration/test_verify.py

$(JAVASCRIPT_STAMP): $(JAVASCRIPT)/package.json $(JAVASCRIPT)/package-lock.json
	@bash deploy/scripts/require-tools.sh
	cd $(JAVASCRIPT) && npm ci --no-progress >/dev/null
	@touch $@

javascript: $(JAVASCRIPT_STAMP)
	cd $(JAVASCRIPT) && npm run --silent lint
	cd $(JAVASCRIPT) && npm run --silent typecheck
	cd $(JAVASCRIPT) && npm run --silent build
	cd $(JAVASCRIPT) && npm test --silent

# The arena in Chromium; and that its page is made of what clients/javascript builds now.
browser: install $(JAVASCRIPT_STAMP)
	@bash deploy/scripts/require-tools.sh browser
	cd clients/arena && ../javascript/node_modules/.bin/biome check --error-on-warnings .
	node --test --test-reporter=dot clients/arena/test/*.test.js
	cd gamebus/dashboard && ../../clients/javascript/node_modules/.bin/biome check --error-on-warnings .
	cd tests/browser && npm ci --no-progress >/dev/null
	$(BIN)/python -m pytest -q tests/browser

# Give the arena the JavaScript client as it is now.
vendor: $(JAVASCRIPT_STAMP)
	cd $(JAVASCRIPT) && node build.mjs
	cp $(JAVASCRIPT)/dist/gamebus.iife.js $(JAVASCRIPT)/dist/LICENSE.msgpack $(JAVASCRIPT)/LICENSE clients/arena/gamebus_arena/static/vendor/

# Half an hour of every fault, again and again, in a new order.
soak: install
	$(BIN)/gamebus verify --minutes 30 --faults all $(ARGS)

BENCHES := fanout gateway_ingest throughput ack_latency guarantees combat connections dashboards metrics_export realtime_publish consume interest resume

# Alone on the machine, please; about 20 minutes on two cores. The figures also go to bench/results/. `python -m bench.outage` has its own minute.
bench: install
	@set -e; for name in $(BENCHES); do $(BIN)/python -m bench.$$name --json bench/results/$$name.json $(ARGS); done

docs: install
	$(BIN)/gamebus docs
	$(BIN)/gamebus alerts --format prometheus >deploy/prometheus/gamebus.rules.yml

fmt: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install
	cd requirements && for name in runtime tracing dev bots build; do ../$(UV_COMPILE) $$name.in -o $$name.txt || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf $(JAVASCRIPT)/node_modules $(JAVASCRIPT)/dist tests/browser/node_modules
