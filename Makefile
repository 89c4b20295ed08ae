# One line a recipe; `make test` is what CI runs, nothing else.
.PHONY: demo test check bench fuzz

FUZZ_SECONDS ?= 60

demo: ; cargo run --quiet -- demo
test: ; bash tests/setup.sh && cargo test
check: ; cargo fmt --check && cargo clippy --all-targets -- -D warnings && cargo deny check
bench: ; cargo bench
fuzz: ; bash fuzz/run.sh $(FUZZ_SECONDS)
