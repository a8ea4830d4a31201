#!/usr/bin/env bash
# Prints the figures that a release build is held to, each with its bound.
#
# Of one machine: a body of 1 GiB up and down with the gate's memory at its highest, 200 clients on one quota, a crash,
# a rate, a reload under load, an idle exit. Of a fleet of three gateways on PostgreSQL and Redis: one quota and one
# bucket in every mode, a revocation, each fault under load, a killed gateway, a move from SQLite, and what a call costs.
# Fails where a bound is missed. Not part of tests/run: it needs a release build and a quiet machine.
#
# Of billing: events of subscriptions, doubled and shuffled, at a gate that is killed twenty times, how soon the webhook's
# door answers, and when three gateways refuse who did not pay and serve who did after all.
#
# usage: tests/shows.sh [MIB [KEYS [EVENTS]]]    the length of the long body; how many keys move to PostgreSQL; how many
#                                                events of subscriptions; 0 for none of what goes with it;
#                                                default: 1024 100000 100000
#
# TOLLGATE_BINARY names the binary; default: the release build, made now where it is missing.
# CARGO_TARGET_DIR says where to build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/build-tools.sh"
. "$root/tests/services.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
[[ $CARGO_TARGET_DIR = /* ]] || CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
export TOLLGATE_BINARY=${TOLLGATE_BINARY:-$CARGO_TARGET_DIR/release/tollgate}
cd "$root"

wrong_usage() {
    sed -n '/^# usage/,/^#$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
[ $# -le 3 ] || wrong_usage
for argument in "$@"; do
    case $argument in
    '' | *[!0-9]*) wrong_usage ;;
    esac
done
# shellcheck disable=SC2046 # a list of words on purpose
install_packages $(missing_service_packages)
[ -x "$TOLLGATE_BINARY" ] || cargo build --release --locked --workspace --bin tollgate
# What drives it need not be fast.
cargo build --quiet --locked -p tollgate-e2e --example shows --example services
trap stop_services EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start_services
"$CARGO_TARGET_DIR/debug/examples/shows" "$@"
