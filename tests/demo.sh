#!/usr/bin/env bash
# Runs `tollgate demo` as a user does: pastes every line that it prints, runs deploy/smoke.sh with its key, stops it.
#
# TOLLGATE_BINARY names the binary; default: the debug build.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${TOLLGATE_BINARY:-$root/target/debug/tollgate}
stop_seconds_max=5

folder=$(mktemp -d)
demo=
finish() {
    [ -z "$demo" ] || kill "$demo" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 143' INT TERM

fail() {
    printf 'FAIL %s\n' "$*" >&2
    sed 's/^/    /' "$folder/lines" "$folder/messages" >&2
    exit 1
}

# A curl that does what it is told and notes the answer's head, whatever the line does with it.
mkdir "$folder/bin" "$folder/throwaway"
cat >"$folder/bin/curl" <<TEXT
#!/bin/sh
exec $(command -v curl) "\$@" --dump-header "$folder/head"
TEXT
chmod +x "$folder/bin/curl"

TMPDIR=$folder/throwaway "$binary" demo >"$folder/lines" 2>"$folder/messages" </dev/null &
demo=$!
for _ in $(seq 300); do
    # Of the statuses that the demo shows, the last to be printed may be any.
    shown=$(sed -n 's/^curl.*# \([0-9]*\)$/\1/p' "$folder/lines" | sort -u | tr '\n' ' ')
    [ "$shown" != '200 401 402 403 429 ' ] || break
    kill -0 "$demo" 2>/dev/null || fail 'the demo ended by itself'
    sleep 0.1
done
[ "$shown" = '200 401 402 403 429 ' ] || fail "the demo shows these statuses only: $shown"

passed=0
while read -r line; do
    rm -f "$folder/head"
    PATH=$folder/bin:$PATH sh -c "$line" >"$folder/answer" 2>&1 </dev/null || true
    got=$(sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$folder/head" 2>/dev/null | tail -n 1)
    [ "$got" = "${line##*\# }" ] || fail "status ${got:-(none)} from: $line"
    passed=$((passed + 1))
done < <(grep '^curl' "$folder/lines")

line=$(grep '^curl.*x-api-key.*# 200$' "$folder/lines" | head -n 1)
key=$(sed -n 's/.*x-api-key: *\([A-Za-z0-9_]*\).*/\1/p' <<<"$line")
url=$(sed -n 's|.*\(http://[^/ ]*\)/.*|\1|p' <<<"$line")
RR_TEST_KEY=$key "$root/deploy/smoke.sh" "" "$url" >"$folder/answer" 2>&1 || fail "smoke.sh: $(cat "$folder/answer")"
passed=$((passed + 1))

started=$(date +%s%N)
kill -TERM "$demo"
status=0
wait "$demo" || status=$?
demo=
stop_ms=$((($(date +%s%N) - started) / 1000000))
[ "$status" -eq 0 ] || fail "the demo left with status $status after SIGTERM"
[ "$stop_ms" -lt $((stop_seconds_max * 1000)) ] || fail "the demo took $stop_ms ms to stop"
[ -z "$(ls -A "$folder/throwaway")" ] || fail "the demo left behind: $(ls -A "$folder/throwaway")"
printf 'demo: %s passed, 0 failed (stopped in %s ms)\n' "$((passed + 2))" "$stop_ms"
