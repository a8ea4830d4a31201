# Shorthands; the README gives the commands themselves.

demo:
    deploy/quickstart

test:
    tests/run

ci:
    .ci/run

check:
    cargo clippy --workspace --all-targets -- -D warnings

format:
    cargo fmt --all

arrows:
    .ci/arrows

bench:
    cargo bench --workspace
