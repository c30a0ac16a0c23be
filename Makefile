ifndef PYTHON  # Lambda's Python where there is one (pyenv's too), else the machine's own; looked for when it is first needed
PYTHON = $(eval PYTHON := $(shell for each in python3.13 "$$(pyenv prefix 3.13 2>/dev/null)/bin/python3.13" python3; do \
	"$$each" -c 'import venv, ensurepip' 2>/dev/null && echo "$$each" && exit; done; echo python3))$(PYTHON)
endif
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
NO_PACKAGES = { echo "make: the packages of $(1) could not be installed: is a package index reachable?"; exit 1; }
SAM := .venv-sam/bin/sam
SENDERS := .venv-senders
STAGE ?= default
BUILT := .aws-sam/build/template.yaml

.DEFAULT_GOAL := help
.PHONY: help setup replay test e2e fuzz kill-day bench nightly check lock prices build deploy up clean clients browser senders scan

help:  ## list what make can do
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## create .venv with everything the commands and tests need

$(VENV)/.created: requirements/replay.txt requirements/dev.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: '$(PYTHON)' is missing: install Python 3.11 or later, or name it: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), but Gratis needs Python 3.11 or later; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.replay: $(VENV)/.created
	@echo "Setting up $(VENV) for replays (once, less than a minute) ..."
	@$(INSTALL) --require-hashes -r requirements/replay.txt || $(call NO_PACKAGES,requirements/replay.txt)
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(STAMP): $(VENV)/.created
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(INSTALL) --require-hashes -r requirements/dev.txt || $(call NO_PACKAGES,requirements/dev.txt)
	@$(INSTALL) --no-build-isolation --editable .
	@touch $(VENV)/.replay $@

replay: $(VENV)/.replay  ## run the seed's day through the code that is deployed and print the table
	@$(BIN)/gratis replay events/seed-day.json

test: setup  ## run the tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal

e2e: setup browser senders  ## deploy the template on the local engine and drive it
	@$(BIN)/python -m pytest tests/e2e

fuzz: setup  ## try hostile input on all that parses it, FUZZ_SECONDS (60) with each of ten targets
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(BIN)/python -m pytest -n 2 tests/fuzz -k mutation \
		|| { echo "make: what was found is in .hypothesis/found; mend it, and keep the file in tests/fuzz/corpus/<target>/ under a name that says what it is"; exit 1; }

kill-day: setup  ## play a day of 20,000 events over each intake on the local engine, whose workers are killed
	@KILLED_DAY_EVENTS=$${KILLED_DAY_EVENTS:-20000} $(BIN)/python -m pytest -s tests/e2e/test_killed_workers.py

bench: setup  ## measure Gratis beside what one would otherwise write
	@$(BIN)/python -m benchmarks

nightly: setup  ## what takes too long for every change: 20,000 worlds, rare faults, make fuzz, kill-day and bench
	@$(BIN)/gratis simulate --worlds 20000 --seed "$$(date +%s)"
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m nightly
	@$(MAKE) fuzz kill-day bench

check: setup $(SAM) scan  ## lint, types, template
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for app in functions/*/app.py; do $(BIN)/mypy --no-error-summary $$app || exit 1; done
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint --template template.yaml
	@.venv-sam/bin/cfn-lint --regions us-east-1 -- edge.yaml

$(SAM): requirements/sam.txt
	@echo "Setting up .venv-sam (once) ..."
	@$(PYTHON) -m venv --clear .venv-sam
	@.venv-sam/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/sam.txt
	@touch $@

scan: .venv-scan/.complete  ## look the template over for what is left open (checkov)
	@.venv-scan/bin/checkov --config-file .checkov.yaml

.venv-scan/.complete: requirements/scan.txt
	@echo "Setting up .venv-scan (once) ..."
	@$(PYTHON) -m venv --clear .venv-scan
	@.venv-scan/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/scan.txt
	@touch $@

browser: $(VENV)/.clients  ## find or install the Chromium that the page's tests drive
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -qq -y chromium; } \
		|| $(BIN)/playwright install --with-deps chromium

clients: $(VENV)/.clients  ## add the real clients that the tests of the deployed system use

$(VENV)/.clients: requirements/clients.txt $(STAMP)
	@echo "Adding real clients to $(VENV) (once) ..."
	@$(INSTALL) --require-hashes -r requirements/clients.txt || $(call NO_PACKAGES,requirements/clients.txt)
	@touch $@

senders: $(SENDERS)/.complete  ## install the real senders that the tests of the deployed system run

$(SENDERS)/.complete: requirements/senders.txt requirements/senders/package-lock.json
	@echo "Setting up $(SENDERS): LiteLLM, OpenTelemetry and other senders (once, about two minutes) ..."
	@$(PYTHON) -m venv --clear $(SENDERS)
	@$(SENDERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
		-r requirements/senders.txt || $(call NO_PACKAGES,requirements/senders.txt)
	@cp requirements/senders/package.json requirements/senders/package-lock.json $(SENDERS)
	@! command -v npm >/dev/null || npm ci --silent --no-audit --no-fund --prefix $(SENDERS) \
		|| echo "make: the packages of requirements/senders/package-lock.json could not be installed: TypeScript is not tried"
	@touch $@

build: $(SAM)  ## build what is deployed (sam build)
	@export PYTHON="$$PWD/$(dir $(SAM))python"; python=$$PWD/$(dir $(SAM))python3.13; if test -x "$$python"; then export LAMBDA_PYTHON="$$python"; \
		"$$python" -m compileall -q --invalidation-mode checked-hash functions; fi; \
		SAM_CLI_TELEMETRY=0 $(SAM) build
	@release=$$(date -u +%Y%m%dT%H%M%SZ)-$$(git rev-parse --short HEAD 2>/dev/null || echo source); \
		sed -i.source "s/Id: source/Id: $$release/" $(BUILT) && grep -q "Id: $$release" $(BUILT) && echo "release $$release"
	@$(if $(filter deploy,$(MAKECMDGOALS)),,echo "next: make deploy")

deploy: build  ## deploy to AWS (sam deploy); STAGE=prod for another stage of samconfig.toml
	@SAM_CLI_TELEMETRY=0 $(SAM) deploy --config-env $(STAGE)

up: setup  ## run the whole system on this machine until Ctrl-C
	@exec $(BIN)/gratis up

prices: setup  ## generate the price data again from genai-prices
	@$(BIN)/python -m gratis_local.prices

lock:  ## lock the newest versions of every dependency (needs uv and npm)
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" requirements/dev.in -o requirements/dev.txt
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" -c requirements/dev.txt requirements/replay.in -o requirements/replay.txt
	@uv pip compile -q --upgrade --universal --python-version 3.13 --generate-hashes \
		--custom-compile-command "make lock" -c requirements/dev.txt requirements/layer.in -o layers/core/requirements.txt
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" -c requirements/dev.txt requirements/clients.in -o requirements/clients.txt
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" requirements/sam.in -o requirements/sam.txt
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" requirements/scan.in -o requirements/scan.txt
	@uv pip compile -q --upgrade --universal --no-strip-extras --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" requirements/senders.in -o requirements/senders.txt
	@npm update --silent --no-audit --no-fund --package-lock-only --prefix requirements/senders

clean:  ## remove everything that was set up or built, but what make fuzz found
	@rm -rf $(VENV) .venv-sam .venv-scan $(SENDERS) .aws-sam .gratis .mypy_cache .ruff_cache .pytest_cache report.html records.json
	@if test -d .hypothesis; then find .hypothesis -mindepth 1 -maxdepth 1 ! -name found -exec rm -rf {} +; \
		rmdir .hypothesis 2>/dev/null || true; fi
	@find . -name __pycache__ -prune -exec rm -rf {} +
