# make run    the whole pipeline on this machine, until Ctrl-C      PORT=9000 AWS_PORT=4566 PARTNER=stripe CURRENCY=EUR …
# make demo   one order from cart to shipped, and its mails
# make mails  prints the mails that a running `make run` has sent
# make ops-overdue  what needs attention in a deployed stack  STACK=orderflow ON=aws MAILS=days FORMAT=json
# make ops-overdue REQUEUE=ord_…     has the sweep look at one order at once  SWEEP=now
# make ops-overdue REDRIVE=payment   moves the dead letters that can succeed back to their queue
# make ops-overdue RESEND=ord_…/OrderShipped   sends that mail again  SURE=yes
# make ops-overdue SEEN=ord_…/OrderShipped     no longer lists a parked mail
# make ops-overdue DROP=payment/message        deletes a dead letter  SURE=yes
# make console   the operator's page for a deployed stack  STACK=orderflow ON=aws PORT=9100 WRITE=yes PERSONAL=yes
# make screenshots   the pictures of docs/console.md
# make test   every test
# make check  format, spelling, lints, documentation, licences, template; .ci/run does this and then make test
# make test-backlog  sweeps 100 000 due orders and prints how many a second
# make planted  plants one fault at a time and shows that the tests turn red  FAULT='name of one'
# make check-fast  what a change breaks most often, in under three minutes: format, lints, and the tests that are quick
# make lint-api  lints api/, the descriptions of the API and of the messages, and finds breaking changes; needs Node 20
# make clients  generates a TypeScript and a Python client in target/clients; needs Node 20
# make docs   builds the book in target/book, and checks the links of all documents
# make tools  the pinned tools in .local/venv: sam, cargo-lambda, ministack, localstripe
# make advisories   known vulnerabilities in the dependencies (fetches the RustSec database)

PYTHON ?= python3
VENV := .local/venv
# cargo finds its subcommand `lambda` there.
export PATH := $(abspath $(VENV)/bin):$(abspath .local/bin):$(PATH)
export SAM_CLI_TELEMETRY := 0
export PYTHONDONTWRITEBYTECODE := 1

# The tools of Node, in a folder of their own.
NODE := .local/node
# Redocly sends no use of it anywhere.
export REDOCLY_TELEMETRY := off

DENY_VERSION := 0.20.2
MDBOOK_VERSION := 0.4.52

.DEFAULT_GOAL := help
.PHONY: help browser console screenshots test-console tools api-tools linters docs run demo mails ops-overdue test test-rust test-faults test-faults-and-stacks test-fast test-template test-ops test-local test-wire test-stack test-backlog check check-fast format typos lint lint-api clients lint-python rustdoc deny advisories template planted planted-fit

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# A second call is free: the stamp is newer than the pins.
tools: $(VENV)/installed
$(VENV)/installed: local/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo 'Python 3.11 or newer is needed. Install it, or name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@echo 'Installing the pinned tools into $(VENV) …'
	@$(PYTHON) -m venv --clear $(VENV) \
	  || { echo 'Python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement local/requirements.txt
	@touch $@

# The linters join them: mypy reads the types that the tools bring along.
linters: $(VENV)/linted
$(VENV)/linted: tests/requirements.txt $(VENV)/installed
	@echo 'Installing the pinned linters into $(VENV) …'
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@

api-tools: $(NODE)/installed
$(NODE)/installed: tests/api/package.json tests/api/package-lock.json tests/api/.npmrc
	@node --eval 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null \
	  || { echo 'Node 20 or newer is needed, with npm.' >&2; exit 1; }
	@echo 'Installing the pinned tools into $(NODE) …'
	@mkdir -p $(NODE)
	@cp $^ $(NODE)/
	@npm ci --prefix $(NODE) --silent --no-audit --no-fund --no-update-notifier
	@touch $@

run: tools
	@$(VENV)/bin/python local/run.py

mails: tools
	@$(VENV)/bin/python local/show_mails.py

demo: tools
	@$(VENV)/bin/python local/demo.py

# A misspelled variable would otherwise be ignored. MAKEFLAGS holds the options of make itself.
given = $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unknown = $(filter-out $(1) PYTHON VENV MAKEFLAGS CARGO_TARGET_DIR,$(given))
refuse_unknown = $(if $(call unknown,$(2)),$(error make $(1) knows no $(call unknown,$(2)). Its variables: $(2)))
OPS_VARIABLES := STACK ON FORMAT MAILS SWEEP REQUEUE REDRIVE RESEND SEEN DROP SURE

# It ends with 3 if something needs attention; make then says "Error 3" and ends with 2 itself.
ops-overdue: tools
	$(call refuse_unknown,ops-overdue,$(OPS_VARIABLES))
	@$(VENV)/bin/python ops/overdue.py $(if $(STACK),--stack '$(STACK)') $(if $(ON),--on '$(ON)') \
	  $(if $(FORMAT),--format '$(FORMAT)') $(if $(MAILS),--mails '$(MAILS)') $(if $(SWEEP),--sweep '$(SWEEP)') \
	  $(if $(REQUEUE),--requeue '$(REQUEUE)') $(if $(REDRIVE),--redrive '$(REDRIVE)') \
	  $(if $(RESEND),--resend '$(RESEND)') $(if $(SEEN),--seen '$(SEEN)') $(if $(DROP),--drop '$(DROP)') $(if $(SURE),--sure '$(SURE)')

console: tools
	$(call refuse_unknown,console,STACK ON PORT WRITE PERSONAL)
	@$(VENV)/bin/python ops/console.py $(if $(STACK),--stack '$(STACK)') $(if $(ON),--on '$(ON)') $(if $(PORT),--port '$(PORT)') \
	  $(if $(WRITE),--write '$(WRITE)') $(if $(PERSONAL),--personal '$(PERSONAL)')

test: export CARGO_PROFILE_DEV_OPT_LEVEL := 1
test: test-template test-ops test-local test-rust test-faults-and-stacks

# All but the simulator. nextest where it is installed: it runs test binaries side by side. It has no doc tests.
test-rust:
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace --lib --bins --test suite; \
	else \
	  cargo test --workspace --lib --bins --test suite; \
	fi
	@cargo test --workspace --doc

# The simulator's tests: every crash, every lost answer, and random histories. Optimized, they take three quarters of the
# time, which is many times what the compiler takes longer.
test-faults: export CARGO_PROFILE_DEV_OPT_LEVEL := 2
test-faults:
	cargo test --workspace --test faults

# The stacks mostly wait, and the simulator only computes. So it runs beside them, with what they leave of the processor.
test-faults-and-stacks:
	@CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test --workspace --test faults --no-run
	@echo 'The simulator runs beside the stacks; its output follows theirs.'
	@mkdir -p target; nice -n 19 $(MAKE) --no-print-directory test-faults >target/faults.log 2>&1 & simulator=$$!; \
	trap 'pkill -f $(CURDIR)/target/debug/deps/faults-; exit 130' INT TERM; \
	$(MAKE) --no-print-directory test-wire test-stack test-console; stacks=$$?; \
	wait $$simulator; faults=$$?; \
	cat target/faults.log; \
	exit $$((stacks + faults))

# What `make test-fast` leaves to `make test-rust`, beside the simulator. In seconds of CPU:
#   120  each_refusal_of       AWS refuses every call of every step in every way
#    25  a_backlog_is          the sweep of 10 000 orders
#     7  the_days_may_change   the days until an order expires change while it waits
#     8  events::whatever_     events changed at random
SLOW := each_refusal_of|a_backlog_is|the_days_may_change|events::whatever_

test-fast:
	@if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --workspace --lib --bins --test suite --filterset 'not test(/$(SLOW)/)'; \
	else \
	  cargo test --workspace --lib --test suite -- --skip $(subst |, --skip ,$(SLOW)); \
	fi

test-template: tools
	$(VENV)/bin/python -m unittest discover --start-directory tests/template

test-ops: tools
	$(VENV)/bin/python -m unittest discover --start-directory tests/ops

test-local: tools
	$(VENV)/bin/python -m unittest discover --start-directory tests/local

# The client of Stripe against localstripe, which others wrote. Fails if localstripe does not start or no test runs.
test-wire: tools
	$(VENV)/bin/python -m unittest discover --start-directory tests/wire

# The real template, built by `sam build` and deployed to a local AWS.
test-stack: linters api-tools
	$(VENV)/bin/python -m unittest discover --start-directory tests/stack

# The page of `make run` in headless Chromium.
test-console: linters browser
	$(VENV)/bin/python -m unittest discover --start-directory tests/console

screenshots: linters browser
	SCREENSHOTS=docs/images $(VENV)/bin/python -m unittest discover --start-directory tests/console

browser:
	@command -v chromium chromium-browser google-chrome >/dev/null \
	  || { apt-get install --yes --quiet chromium >/dev/null 2>&1 || { apt-get update --quiet >/dev/null && apt-get install --yes --quiet chromium >/dev/null; }; } \
	  || { echo 'The tests of the console need Chromium; on Debian and Ubuntu: apt install chromium' >&2; exit 1; }

# Cheapest first.
check: format typos lint-python lint-api docs template deny planted-fit lint rustdoc

check-fast: format typos lint-python planted-fit lint test-template test-ops test-local test-fast

format: linters
	cargo fmt --check
	$(VENV)/bin/ruff format --check

clients: api-tools
	@mkdir -p target/clients
	@$(NODE)/node_modules/.bin/redocly generate-client api/openapi.yaml --output target/clients/orderflow.ts \
	  --args-style grouped --generator typescript --generator python

# Two linters: each knows rules that the other lacks. Then: no break without a version that says so.
lint-api: api-tools
	$(NODE)/node_modules/.bin/redocly lint --config tests/api/redocly.yaml api/openapi.yaml messages
	$(NODE)/node_modules/.bin/spectral lint --ruleset tests/api/spectral.yaml --fail-severity hint api/openapi.yaml api/asyncapi.yaml
	$(PYTHON) -m unittest discover --start-directory tests/api
	$(PYTHON) tests/api/compare.py

typos: linters
	$(VENV)/bin/typos

lint-python: linters
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

# Not part of `make test`: every fault is a build of its own.
test-backlog:
	@SWEEP_ORDERS=100000 cargo test -p tests --test suite a_backlog -- --nocapture

planted:
	@$(PYTHON) tests/planted/plant.py $(if $(FAULT),"$(FAULT)")

planted-fit:
	@$(PYTHON) tests/planted/plant.py --check

lint:
	cargo clippy --workspace --all-targets -- --deny warnings

# Links in doc comments, private ones too: a renamed type would leave them dead.
rustdoc:
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --lib --document-private-items

template: tools
	$(VENV)/bin/sam validate --lint

# The book, and the links of all documents.
docs: .local/bin/mdbook
	.local/bin/mdbook build docs
	$(PYTHON) -m unittest discover --start-directory tests/docs

# The advisory database is a git clone, so that half is a target of its own.
deny: .local/bin/cargo-deny
	.local/bin/cargo-deny --all-features check licenses bans sources

advisories: .local/bin/cargo-deny
	.local/bin/cargo-deny --all-features check advisories

.local/bin/cargo-deny:
	cargo install --locked --debug --root .local cargo-deny@$(DENY_VERSION)

.local/bin/mdbook:
	cargo install --locked --debug --root .local mdbook@$(MDBOOK_VERSION) --no-default-features
