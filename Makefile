# `make demo` and `make test` do all of their own set-up and say what they do.
# The proof's calls.
CALLS ?= 1000

.PHONY: demo test build bench lint miri privacy-proof setup-build setup-test

CARGO ?= cargo
say = @printf '\n== %s\n' "$(1)"

## A bridge with six callers who speak, and its live roster.
demo: build
	@$(CARGO) run --release --quiet --package sotto -- demo

## Everything that can be checked: unit, virtual-time, black-box and real-peer tests.
test: setup-test lint
	$(call say,tests (the first run builds for some minutes))
	scripts/test

build: setup-build
	$(call say,building sotto (the first time some minutes))
	$(CARGO) build --release --package sotto

## Micro-benches and the capacity bench, each against a floor; the tables stand in docs/PERFORMANCE.md.
bench: build
	$(call say,benches (some minutes))
	scripts/bench

## Looks for callers' identities in the running bridge's memory; prints what it finds, which must be nothing. Root only.
privacy-proof: setup-test
	$(call say,privacy proof with $(CALLS) calls (some minutes))
	CALLS=$(CALLS) $(CARGO) test --release --quiet --package sotto --test proof -- --ignored --nocapture

## What is unsafe, interpreted, with every rule of the language looked after; needs a nightly toolchain with miri and rust-src.
miri:
	$(call say,miri (some minutes))
	scripts/miri

lint: setup-build
	$(call say,fmt and clippy)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check bans licenses sources; \
	else echo 'cargo-deny is not installed: licences and sources of the dependencies are not checked'; fi

setup-build:
	@scripts/setup build
	@scripts/portal

setup-test:
	@scripts/setup test
	@scripts/portal
