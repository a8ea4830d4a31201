#!/usr/bin/env bash
# Prints the figures that a release build is held to, each with its bound: a body of 1 GiB up and down with the gate's
# memory at its highest, 200 clients on one quota, a crash, a rate, a reload under load, an idle exit.
# Fails where a bound is missed. Not part of tests/run: it needs a release build and a quiet machine.
#
# usage: tests/shows.sh [MIB]    the length of the long body; default: 1024
#
# TOLLGATE_BINARY names the binary; default: the release build, made now where it is missing.
# CARGO_TARGET_DIR says where to build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
[[ $CARGO_TARGET_DIR = /* ]] || CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
export TOLLGATE_BINARY=${TOLLGATE_BINARY:-$CARGO_TARGET_DIR/release/tollgate}
cd "$root"

case $#:${1-1024} in
[01]:*[!0-9]* | [01]: | [2-9]*)
    sed -n '/^# usage/,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
[ -x "$TOLLGATE_BINARY" ] || cargo build --release --locked --workspace --bin tollgate
# What drives it need not be fast.
cargo build --quiet --locked -p tollgate-e2e --example shows
exec "$CARGO_TARGET_DIR/debug/examples/shows" "$@"
