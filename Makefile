# A thin front of Meson, pytest and the tools; `make help` lists what there is.
SHELL := /bin/bash
BUILD ?= build
PREFIX ?= /usr/local
PYTHON := .venv/bin/python
# Where the tests find the program. Override to test another build.
PROGRAM ?= $(BUILD)/etl-stream
# K=name runs only the integration tests whose name matches.
K ?=
# How long `make soak` begins new runs, in seconds.
FOR ?= 60
# PG=version runs the integration tests against that PostgreSQL; the others have the short form of `make test-servers`.
PG ?= 15
ALL_SERVERS := 14 15 16 17 18
EDGE_SERVERS := 14 18
# How many of pytest's processes run at a time. Each has servers and ports of its own; the tests of a file stay together.
WORKERS ?= 3
PYTEST := $(PYTHON) -m pytest -q --durations=10
PYTEST_ALL = $(PYTEST) $(if $(K),-k '$(K)',-n $(WORKERS) --dist loadfile --no-loadscope-reorder)
# The way of a row from end to end, a few kills, the commands, columns that change: what is worth its time under AddressSanitizer.
SANITIZED = $(wildcard $(addprefix tests/integration/test_, pipeline.py kill.py cli_commands.py)) \
    tests/integration/test_schema_changes.py::test_columns_that_change_while_it_runs
MESON_TEST := meson test --no-rebuild --print-errorlogs --num-processes 2
# The unit tests in which there is more than one thread. test_sf_key searches all memory of its process, and under
# ThreadSanitizer that is terabytes.
THREADED_TESTS = $(filter-out test_sf_key,$(basename $(notdir \
    $(shell grep -lE 'pthread_create|mailbox_|resolver_|catalog_' tests/unit/test_*.c))))
INTEGRATION = ETL_STREAM_PROGRAM=$(abspath $(PROGRAM)) ETL_STREAM_TRAPS=$(abspath $(BUILD)-traps/etl-stream)
SERVERS_RUN = env KILLS_PER_PHASE=1 $(INTEGRATION) $(PYTEST_ALL) tests/integration
# Of test-servers for each of the two servers that are tested at the same time.
test-servers test-tsan: WORKERS = 2
OTHER_CC := $(shell if [ "$${CC:-gcc}" = clang ]; then echo gcc; else echo clang; fi)

# configure,<folder>,<environment>,<options>: configures once, and again only when a source file came or went.
define configure
	@tools/configure $(1) $(2) -- $(3)
endef

.PHONY: all build packages venv traps test test-unit test-integration test-servers test-fuzz test-sanitize test-tsan test-tidy test-clang \
        demo soak bench install format clean help

all: build

build: ## build the program in build/
	@tools/bootstrap build
	$(call configure,$(BUILD),,--prefix=$(PREFIX))
	@ninja -C $(BUILD) -j 2 --quiet

packages: ## install the Debian packages that tests and demo need
	@tools/bootstrap packages

venv: packages
	@tools/bootstrap venv

test: ## everything that CI runs (PG=17 for another PostgreSQL than 15)
	@tools/test_parts tidy unit clang fuzz sanitize tsan integration servers

test-unit: build ## unit and seeded simulation tests
	@$(MESON_TEST) -C $(BUILD) --suite unit --suite sim

# A program whose rules can be taken out one by one, for the tests that must fail without them.
traps: packages
	$(call configure,$(BUILD)-traps,,-Dtraps=true -Doptimization=0)
	@ninja -C $(BUILD)-traps -j 2 --quiet

test-integration: venv build traps ## tests against a real PostgreSQL and the stand-in for Snowflake (K=name for some, PG=14…18)
	@server=$$(tools/bootstrap postgres $(PG)) && PGBIN=$$server $(INTEGRATION) $(PYTEST_ALL) tests/integration

test-servers: venv build traps ## the tests that depend on the server, against the versions of PostgreSQL other than PG
	@failed=0; \
	    tools/test_servers $(filter-out $(PG),$(EDGE_SERVERS)) -- $(SERVERS_RUN) -m server || failed=1; \
	    tools/test_servers $(filter-out $(PG) $(EDGE_SERVERS),$(ALL_SERVERS)) -- $(SERVERS_RUN) -m 'server and not edges' || failed=1; \
	    exit $$failed

test-fuzz: venv ## a minute of fuzzing, with libFuzzer
	$(call configure,$(BUILD)-fuzz,CC=clang,-Dlibfuzzer=true -Db_sanitize=address$(comma)undefined -Db_lundef=false)
	@ninja -C $(BUILD)-fuzz -j 2 --quiet
	@tools/fuzz $(BUILD)-fuzz

test-sanitize: venv ## unit and some integration tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call configure,$(BUILD)-asan,,-Db_sanitize=address$(comma)undefined -Db_lundef=false)
	@ninja -C $(BUILD)-asan -j 2 --quiet
	@$(MESON_TEST) -C $(BUILD)-asan --suite unit --suite sim --suite fuzz
	@ETL_STREAM_PROGRAM=$(abspath $(BUILD)-asan/etl-stream) KILLS_PER_PHASE=1 \
	    $(PYTEST_ALL) -m 'not unsanitized' $(SANITIZED)

test-tsan: venv ## what has threads, under ThreadSanitizer
	$(call configure,$(BUILD)-tsan,,-Db_sanitize=thread -Db_lundef=false)
	@ninja -C $(BUILD)-tsan -j 2 --quiet
	@$(MESON_TEST) -C $(BUILD)-tsan $(THREADED_TESTS)
	@ETL_STREAM_PROGRAM=$(abspath $(BUILD)-tsan/etl-stream) $(PYTEST_ALL) -m threads tests/integration

test-tidy: venv ## rules of the tree: includes, lengths, banned calls, formatting
	@$(PYTHON) tests/tidy.py

test-clang: packages ## compile with the compiler that `make` does not use
	$(call configure,$(BUILD)-other,CC=$(OTHER_CC),)
	@ninja -C $(BUILD)-other -j 2 --quiet

demo: venv build ## PostgreSQL to the stand-in under live load, compared at the end; KEEP=1 leaves it running
	@ETL_STREAM_PROGRAM=$(abspath $(PROGRAM)) $(PYTHON) tools/demo $(if $(KEEP),--keep)

soak: venv build ## random schemas, changes, restarts and faults for FOR=seconds, compared again and again (ARGS: see tools/soak)
	@ETL_STREAM_PROGRAM=$(abspath $(PROGRAM)) $(PYTHON) tools/soak --for $(FOR) $(ARGS)

bench: venv build ## the benchmarks of docs/benchmarks.md
	@ETL_STREAM_PROGRAM=$(abspath $(PROGRAM)) $(PYTHON) bench/run $(ARGS)

deb: ## the Debian package, in build/deb/
	@tools/bootstrap deb
	@tools/deb $(BUILD)/deb

install: build ## install under PREFIX (default /usr/local), below DESTDIR if set
	@meson install -C $(BUILD) --no-rebuild --quiet

format: packages ## format the C sources
	@find src tests -name '*.[ch]' -print0 | xargs -0 clang-format -i

clean: ## remove everything that was built
	rm -rf $(BUILD) $(BUILD)-fuzz $(BUILD)-asan $(BUILD)-tsan $(BUILD)-other $(BUILD)-traps

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

comma := ,
