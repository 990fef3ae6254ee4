# Each target is one line; scripts/setup does the installing. rustup's cargo is assumed, nothing else.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# What the benchmark runs.
MEASURED := --workspace --bin codexapi --bin codexapi-bench --bin codexapi-fake-stripe --bin codexapi-simulator
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: run test bench bench-quick soak prove fuzz audit schemas

# Everything on this machine: Postgres, NATS, the upstream simulator, a demo customer. `make run ARGS='--listen …'`
run:
	scripts/setup && cargo build --workspace --bins && exec $(TARGET)/debug/codexapi dev $(ARGS)

# Every test: the rules, the promises against real servers, the real SDKs and CLIs.
test:
	scripts/setup --with-clients && cargo build --workspace --bins && cargo test --workspace && tests/clients/run

# Us and the peers beside each other on this machine: half an hour to build and an hour and a half; bench/REPORT.md is written anew.
bench:
	scripts/setup --with-clients && cargo build --release $(MEASURED) && bench/run --binaries $(TARGET)/release $(ARGS)

# The same in a few minutes, written to the build folder.
bench-quick:
	scripts/setup --with-clients && cargo build --release $(MEASURED) && bench/run --binaries $(TARGET)/release --quick --out $(TARGET)/bench $(ARGS)

# Twenty minutes of large prompts and clients that leave: memory must stay where it is. `make soak ARGS='--minutes 5'`
soak:
	scripts/setup --with-clients && cargo build --release $(MEASURED) && bench/run soak --binaries $(TARGET)/release $(ARGS)

# Everything broken under load, and the money compared three ways. `make prove SECONDS=1800 ARGS='--seed 7 --nodes 2'`
prove:
	scripts/setup && cargo build --workspace --bins && $(TARGET)/debug/codexapi-prove --seconds $(or $(SECONDS),600) --out $(TARGET)/prove $(ARGS)

# What reads the dialects, on inputs made to break it. `make fuzz SECONDS=600 ARGS=translate_stream`
fuzz:
	scripts/setup --with-fuzzing && nice scripts/fuzz --seconds $(or $(SECONDS),60) $(ARGS)

# Licences, banned crates and sources of what this is built from; known vulnerabilities where their list can be reached.
audit:
	scripts/setup --with-clients && scripts/audit

# What is generated from the code and compared by tests: event schemas and the API document.
schemas:
	cargo build --bin codexapi && $(TARGET)/debug/codexapi schemas && $(TARGET)/debug/codexapi openapi > schemas/openapi.json
