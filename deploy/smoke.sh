#!/bin/sh
# Asks a running deployment, through its gate, whether the gate does its work: needs sh and curl only.
set -u

usage() {
    cat <<'TEXT'
usage: smoke.sh [KEY] [URL]

Checks a deployment through its gate:
  without a key      401, code missing_key
  with a wrong key   403, code invalid_key
  with KEY           200 and JSON

KEY   a key whose plan may call the endpoint; default: $RR_TEST_KEY.
      Costs one call of its quota.
URL   where the gate listens; default: http://127.0.0.1:8080

environment:
  RR_TEST_KEY   the key, where none is given (keeps it out of the process list)
  SMOKE_PATH    the endpoint, path and query; default: /events/search?q=earnings&limit=3
  SMOKE_HEADER  the header that carries the key; default: x-api-key
  SMOKE_INVALID_KEY_STATUS
                what a wrong key gets, where `invalid_key_status` is not 403

exit status: 0 all as expected, 1 something differs or cannot be asked, 2 wrong usage
TEXT
}

wrong_usage() {
    printf 'smoke.sh: %s\n' "$1" >&2
    usage >&2
    exit 2
}

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
-*) wrong_usage "unknown option: $1" ;;
esac
[ $# -le 2 ] || wrong_usage "at most two arguments"
key=${1:-${RR_TEST_KEY:-}}
[ -n "$key" ] || wrong_usage "no key: give it as the first argument or in RR_TEST_KEY"
# What would end the header or the quoted string in curl's own settings is no key.
case $key in
*[!A-Za-z0-9_.~+/=-]*) wrong_usage "the key holds a character that no key has" ;;
esac
url=${2:-http://127.0.0.1:8080}
case $url in
http://* | https://*) ;;
*) wrong_usage "the URL must begin with http:// or https://" ;;
esac
path=${SMOKE_PATH:-/events/search?q=earnings&limit=3}
case $path in
/*) ;;
*) wrong_usage "SMOKE_PATH must begin with /" ;;
esac
command -v curl >/dev/null 2>&1 || {
    echo 'smoke.sh: curl is missing' >&2
    exit 1
}
header=${SMOKE_HEADER:-x-api-key}
target=${url%/}$path

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
failures=0

# check NAME STATUS TYPE NEEDLE [KEY]: one call; STATUS, the media type and a text in the body must be as expected.
# The key goes to curl by a settings file on standard input, so that no process list shows it.
check() {
    seen=$({ [ -z "${5-}" ] || printf 'header = "%s: %s"\n' "$header" "$5"; } |
        curl --disable --config - --silent --show-error --globoff --max-time 20 --output "$folder/body" \
            --write-out '%{http_code} %{content_type}' "$target" 2>"$folder/error")
    code=$?
    if [ "$code" -ne 0 ]; then
        printf 'FAIL  %s: no answer from %s: %s\n' "$1" "$target" "$(cat "$folder/error")" >&2
        failures=$((failures + 1))
        return
    fi
    status=${seen%% *}
    type=${seen#* }
    problem=
    [ "$status" = "$2" ] || problem="status $status instead of $2"
    case $type in
    $3*) ;;
    *) problem="${problem:+$problem, }content type ${type:-(none)} instead of $3" ;;
    esac
    grep -q "$4" "$folder/body" 2>/dev/null || problem="${problem:+$problem, }no $4 in the body"
    if [ -n "$problem" ]; then
        printf 'FAIL  %s: %s\n' "$1" "$problem" >&2
        printf '      %s\n' "$target" "$(head -c 400 "$folder/body" 2>/dev/null | tr -d '\000-\011\013-\037')" >&2
        failures=$((failures + 1))
    else
        printf 'ok    %s: %s\n' "$1" "$status"
    fi
}

check 'without a key' 401 application/problem+json '"missing_key"'
check 'with a wrong key' "${SMOKE_INVALID_KEY_STATUS:-403}" application/problem+json '"invalid_key"' "${key}x"
check 'with the key' 200 application/json '^[[:space:]]*[[{]' "$key"

if [ "$failures" -gt 0 ]; then
    printf 'smoke.sh: %s of 3 checks failed\n' "$failures" >&2
    exit 1
fi
