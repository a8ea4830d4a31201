#!/usr/bin/env bash
# Has Stripe's official Python SDK judge both sides: what the gate takes and refuses of signed webhooks, and whether what
# stands in for Stripe in the tests answers as Stripe does.
#
# The SDK is installed from PyPI into a throwaway environment, so that the machine keeps nothing of it; it needs python3 with
# its venv module. TOLLGATE_BINARY names the binary; default: the debug build. STRIPE_STAND_IN names the stand-in's; default:
# the example `serve` built beside it.
#
# exit status: 0 all passed, 1 something failed, or it could not be run
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${TOLLGATE_BINARY:-$root/target/debug/tollgate}
stand_in=${STRIPE_STAND_IN:-$(dirname "$binary")/examples/serve}
# The version that was tried, which describes the API as of 2026-10-28.
package='stripe==16.1.0'

say() {
    printf '==> %s\n' "$*" >&2
}

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    say "not run: Stripe's SDK (python3 with venv is missing; Debian: python3-venv)"
    exit 1
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-stripe-sdk.XXXXXX")
child=
finish() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    [ -z "$child" ] || wait "$child" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 143' INT TERM

say "installing $package"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$package" || {
    say "not run: Stripe's SDK (the package index does not answer)"
    exit 1
}
# Compiled Python files would stay behind beside the scripts.
export PYTHONDONTWRITEBYTECODE=1
"$folder/venv/bin/python" "$root/tests/stripe_shapes.py"
"$folder/venv/bin/python" "$root/tests/stripe_sdk.py" "$binary" "$stand_in" "$folder" </dev/null &
child=$!
status=0
wait "$child" || status=$?
child=
[ "$status" -eq 0 ] || { [ ! -f "$folder/gate.log" ] || tail -n 20 "$folder/gate.log" >&2; }
exit "$status"
