#!/usr/bin/env bash
# Drives the control plane by its own OpenAPI document: calls that are made from it, good ones and bad ones, must end in
# no server error, no status and no body that the document does not name.
#
# schemathesis is installed from PyPI into a throwaway environment, so that the machine keeps nothing of it; it needs
# python3 with its venv module. TOLLGATE_BINARY names the binary; default: the debug build. STRIPE_STAND_IN names what stands
# in for Stripe; default: the example `serve` built beside it. SCHEMATHESIS_EXAMPLES is how many random cases each call gets
# beside those that cover its schema; SCHEMATHESIS_SECONDS bounds each run.
#
# exit status: 0 nothing found, 1 something found, or it could not be run
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${TOLLGATE_BINARY:-$root/target/debug/tollgate}
stand_in=${STRIPE_STAND_IN:-$(dirname "$binary")/examples/serve}
examples=${SCHEMATHESIS_EXAMPLES:-15}
seconds=${SCHEMATHESIS_SECONDS:-45}
seed=${SCHEMATHESIS_SEED:-1}
# The version that was tried: a later one may ask for more than the document promises.
package='schemathesis==4.32.5'

say() {
    printf '==> %s\n' "$*" >&2
}

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    say 'not run: the calls made from the OpenAPI document (python3 with venv is missing; Debian: python3-venv)'
    exit 1
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-schemathesis.XXXXXX")
gate=
finish() {
    [ -z "$gate" ] || kill "$gate" 2>/dev/null || true
    [ -z "$gate" ] || wait "$gate" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 143' INT TERM

fail() {
    say "$*"
    [ ! -f "$folder/log" ] || tail -n 40 "$folder/log" >&2
    exit 1
}

say "installing $package"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$package" ||
    fail 'not run: the calls made from the OpenAPI document (the package index does not answer)'

# Three ports that nobody listens on.
read -r gateway admin metrics < <(python3 - <<'PYTHON'
import socket

held = [socket.socket() for _ in range(3)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
)
# What stands in for Stripe ends with this shell, however that ends.
# shellcheck disable=SC2034 # its array is what is used
coproc STRIPE { exec "$stand_in"; }
declare -A stripe=()
while IFS='=' read -r name value <&"${STRIPE[0]}" && [ -n "$name" ]; do
    stripe[$name]=$value
done
[ -n "${stripe[url]-}" ] || fail 'what stands in for Stripe did not start'
# stripe PATH JSON: asks it what only a stand-in has.
stripe() {
    curl --silent --fail --output /dev/null "${stripe[url]}_fake/$1" --json "$2" || fail "the stand-in refuses $1"
}
for price in pro team; do
    stripe prices '{"id":"price_'$price'","product":"'$price'","unit_amount":2900,"currency":"usd","interval":"month"}'
done

token=0123456789abcdef0123456789abcdef
cat >"$folder/tollgate.toml" <<TOML
[gateway]
listen = "127.0.0.1:$gateway"
public_url = "http://127.0.0.1:$gateway"
[upstream]
url = "http://127.0.0.1:9"
[admin]
listen = "127.0.0.1:$admin"
token = "$token"
[metrics]
listen = "127.0.0.1:$metrics"
[store]
database = "sqlite://tollgate.db"
[usage]
client_reported = ["scans"]
request_log = "all"
[billing.stripe]
secret_key = "${stripe[api_key]}"
webhook_secrets = ["${stripe[webhook_secret]}"]
livemode = false
api_base = "${stripe[url]}"
meters = { calls = "api_calls" }
[accounts]
default_plan = "pro"
[plans.free]
api = false
[plans.pro]
rate = "600/minute"
quota = "10_000/month"
windows = ["1_000/day"]
meters = { tokens = "1_000/month", scans = "unlimited" }
stripe_prices = ["price_pro"]
[plans.team]
rank = 1
stripe_prices = ["price_team"]
[[routes]]
name = "metered"
path = "/metered/*"
meter = "tokens"
TOML
"$binary" --config "$folder/tollgate.toml" up >"$folder/log" 2>&1 </dev/null &
gate=$!
base=http://127.0.0.1:$admin
for _ in $(seq 150); do
    curl --silent --fail --output /dev/null "http://127.0.0.1:$metrics/readyz" && break
    kill -0 "$gate" 2>/dev/null || fail 'the gate ended by itself'
    sleep 0.1
done

# sign_in EMAIL: sets `cookie` and `csrf`, what a session proves itself and its writes with. Its link is in the log.
sign_in() {
    local answer='' link=''
    curl --silent --fail --output /dev/null "$base/v1/session/link" --json "{\"email\":\"$1\"}" || return 1
    for _ in $(seq 100); do
        link=$(sed -n 's/.*login?token=\([0-9a-f]*\).*/\1/p' "$folder/log")
        [ -z "$link" ] || break
        sleep 0.1
    done
    answer=$(curl --silent --fail --dump-header "$folder/head" "$base/v1/session" --json "{\"token\":\"$link\"}") || return 1
    cookie=$(sed -n 's/^set-cookie: \([^;]*\);.*/\1/Ip' "$folder/head")
    csrf=$(sed -n 's/.*"csrf_token":"\([0-9a-f]*\)".*/\1/p' <<<"$answer")
    [ -n "$cookie" ] && [ -n "$csrf" ]
}

# Two checks ask for what is not promised: that every body which is as described is taken (no schema can say which plans,
# meters and accounts there are), and that what was deleted is not there (a revoked key is shown as such).
unpromised=positive_data_acceptance,use_after_free

# run NAME ARGUMENT…: calls made from the document, with what the arguments choose and prove.
run() {
    local name=$1
    shift
    say "$name"
    "$folder/venv/bin/schemathesis" --no-color run "$base/openapi.json" --checks all \
        --exclude-checks "$unpromised" --seed "$seed" \
        --max-examples "$examples" --max-time "$seconds" --generation-database none --no-shrink --warnings off \
        --continue-on-failure --request-timeout 10 "$@" >"$folder/report" 2>&1 </dev/null || {
        cat "$folder/report" >&2
        fail "found something: $name"
    }
    tail -n 25 "$folder/report" >&2
}

# status METHOD PATH: prints what a call by the session ends with.
status() {
    curl --silent --output /dev/null --write-out '%{http_code}' --request "$1" "$base$2" \
        --header "Cookie: $cookie" --header "x-csrf-token: $csrf"
}

# Events for the inbox, of somebody who pays.
stripe endpoints "{\"url\":\"$base/stripe/webhook\"}"
stripe delivery '{"mode":"on"}'
stripe seed '{"email":"payer@example.com","prices":["price_team"],"card":"good"}'

cd "$folder"
sign_in ada@example.com || fail 'nobody can sign in'
# Signing out ends the session that the other calls are made with, so it comes after them.
run 'the customer side, by a session' --include-path-regex '^/(v1/|stripe/|login|openapi)' \
    --exclude-operation-id sign_out --exclude-operation-id report_usage \
    --header "Cookie: $cookie" --header "x-csrf-token: $csrf"
# Guessed ids name no key, so that calls about one are made once more with an own one.
key=$(curl --silent --fail "$base/v1/keys" --json '{}' --header "Cookie: $cookie" --header "x-csrf-token: $csrf" |
    sed -n 's/.*"id":"\(key_[0-9A-Za-z]*\)".*/\1/p')
[ -n "$key" ] || fail 'a customer cannot make a key'
printf '[parameters]\n"path.key" = "%s"\n' "$key" >schemathesis.toml
run 'one own key, by a session' --include-path-regex '^/v1/keys/' --header "Cookie: $cookie" --header "x-csrf-token: $csrf"
rm schemathesis.toml
# Server errors are what is expected then, but none that the document does not name.
stripe faults '{"path_prefix":"/v1/","kind":"status","status":500,"rate":1.0}'
unpromised+=,not_a_server_error run 'billing while Stripe is away, by a session' --include-path-regex '^/v1/billing' \
    --header "Cookie: $cookie" --header "x-csrf-token: $csrf"
curl --silent --fail --output /dev/null --request DELETE "${stripe[url]}_fake/faults"
statuses="$(status GET /v1/me) $(status DELETE /v1/session) $(status GET /v1/me)"
[ "$statuses" = '200 204 401' ] || fail "the session, its end and what comes after it: $statuses"
run "the operator's side, and reports of usage, by the operator's token" --include-path-regex '^/(admin/|v1/usage)' \
    --exclude-operation-id show_usage --header "Authorization: Bearer $token"
kill -0 "$gate" 2>/dev/null || fail 'the gate ended by itself'
# That Stripe was away is told as one; it was.
if grep -E '"level":"ERROR"|panicked' "$folder/log" | grep -v '"code":"stripe_unavailable"' >&2; then
    fail 'the gate logged errors'
fi
say 'nothing found'
