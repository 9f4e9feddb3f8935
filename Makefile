# `make` alone prints what can be made. Every target sets the machine up first; nothing is done twice.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
WITHIN := $(PYTHON) -m app.launcher.within
PYTEST := $(PYTHON) -m pytest -n auto --maxprocesses 4
UV_LOCK := $(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
EXTERNAL := DATABASE_URL DATABASE_OWNER_URL REDIS_URL

.PHONY: help setup run test test-long test-external lint format story screenshots db-citus-sql lock \
	bench-ledger bench-rating bench-ingest bench-trip bench-pages bench-memory bench-signin bench-rotation bench-limits bench-belt

help:  ## print this
	@grep -hE '^[a-z][a-z-]*:.*  ## ' $(MAKEFILE_LIST) | awk -F':.*  ## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup:  ## virtual environment, front-end files, fonts and libraries for PDF
	@tools/bootstrap.sh

run: setup  ## the whole product with its demo, on this machine; Ctrl-C ends it
	@$(PYTHON) -m app.launcher.up

test:  ## every test but the long ones, at most 8 minutes on 2 cores
	@tools/bootstrap.sh --browser
	@$(PYTEST)

test-long:  ## the full matrix, every kill point, many more examples
	@tools/bootstrap.sh --browser
	@TALLYHOUSE_TIER_LONG=1 $(PYTEST)

test-external: setup  ## the tests against a PostgreSQL and Redis named by variables (tools/external_roles.sql)
	@for name in $(EXTERNAL); do [ -n "$${!name}" ] || \
		{ echo "make test-external: set $$name (roles: tools/external_roles.sql)" >&2; exit 1; }; done
	@TALLYHOUSE_POSTGRES=external $(PYTEST)

lint: setup  ## ruff, types, import contracts, house rules
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-cache
	@$(PYTHON) tools/house_rules.py

format: setup  ## put the code in the shape that lint wants
	@$(PYTHON) -m ruff check --fix --quiet . || true
	@$(PYTHON) -m ruff format .

story: setup  ## the prepaid loop, told step by step with its evidence
	@$(WITHIN) --migrate -- .venv/bin/tallyhouse demo story

screenshots: setup  ## every page at 1440 and 390 pixels, into var/screenshots
	@tools/bootstrap.sh --browser
	@$(WITHIN) --migrate -- $(PYTHON) tools/screenshots.py

db-citus-sql: setup  ## the script that distributes the schema on Citus
	@$(WITHIN) --migrate -- .venv/bin/tallyhouse db citus-sql

bench-ledger: setup  ## top-ups per second, against bare rows
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/ledger.py

bench-rating: setup  ## pricing and debiting 10,000 and 100,000 supply accounts
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/rating.py

bench-ingest: setup  ## readings per second, against bare COPY
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/ingest.py

bench-trip: setup  ## from the reading that crosses zero to the confirmed relay
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/trip.py

bench-pages: setup  ## server time and queries of the large pages
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/pages.py

bench-signin: setup  ## sign-ins per second, and other pages during a flood of them
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/signin.py

bench-limits: setup  ## one group at ten times its limit, and what its neighbour feels (SECONDS=300 for the full size)
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/neighbours.py

bench-rotation: setup  ## changing a data key of 100,000 fields under readers (FIELDS=1000000 for the full size)
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/rotation.py

bench-belt: setup  ## what a second row-level policy, on properties, would cost
	@$(WITHIN) --var var/bench -- $(PYTHON) bench/second_belt.py

bench-memory: setup  ## the whole product of `make run`, idle
	@$(PYTHON) bench/memory.py

lock:  ## write the locked requirements and package-lock.json anew
	@tools/bootstrap.sh
	@for name in requirements requirements-embedded requirements-dev requirements-node requirements-pkcs11; do \
		$(UV_LOCK) $$name.in -o $$name.txt; done
	@npm install --package-lock-only --silent
