#!/usr/bin/env bash
# Tests of the shell scripts: deploy/quickstart, deploy/smoke.sh, tests/services.sh and .ci/arrows, with stand-ins for
# what they call.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
started=
trap '[ -z "$started" ] || kill "$started" 2>/dev/null; rm -rf "$folder"' EXIT
passed=0
failed=0

# expect NAME STATUS NEEDLE: judges the last `run`: its status, and a text in what it printed ('' for any).
expect() {
    if [ "$status" -eq "$2" ] && { [ -z "$3" ] || grep -qF -- "$3" "$folder/out"; }; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    printf 'FAIL %s: status %s, expected %s and %q in:\n' "$1" "$status" "$2" "$3" >&2
    sed 's/^/    /' "$folder/out" >&2
}

run() {
    "$@" >"$folder/out" 2>&1 </dev/null
    status=$?
}

# stand_in NAME <<TEXT: a program of that name in $folder/bin.
stand_in() {
    mkdir -p "$folder/bin"
    # Not through a link that stands there, into the system's own program.
    rm -f "$folder/bin/$1"
    { echo '#!/bin/bash' && cat; } >"$folder/bin/$1"
    chmod +x "$folder/bin/$1"
}

# A PATH on which only these programs of the system exist, and the stand-ins.
bare_path() {
    rm -rf "${folder:?}/bin"
    mkdir -p "$folder/bin"
    local name
    for name in bash sh env dirname basename mktemp cat rm id sleep sed grep head tr touch; do
        ln -s "$(command -v "$name")" "$folder/bin/$name"
    done
}

smoke_sh() {
    local smoke=$root/deploy/smoke.sh
    unset RR_TEST_KEY SMOKE_PATH SMOKE_HEADER SMOKE_INVALID_KEY_STATUS
    run "$smoke" -h; expect 'smoke.sh -h' 0 'usage: smoke.sh'
    run "$smoke"; expect 'smoke.sh without a key' 2 'no key'
    run "$smoke" --what; expect 'smoke.sh with an unknown option' 2 'unknown option'
    run "$smoke" a b c; expect 'smoke.sh with three arguments' 2 'at most two'
    run "$smoke" key localhost; expect 'smoke.sh with a URL without scheme' 2 'http://'
    run "$smoke" 'a"b'; expect 'smoke.sh with a key that ends the string' 2 'no key has'
    run env SMOKE_PATH=x "$smoke" key; expect 'smoke.sh with a relative path' 2 'SMOKE_PATH'
    # Port 9 of this machine: nothing listens there.
    run "$smoke" key http://127.0.0.1:9; expect 'smoke.sh without a deployment' 1 'no answer'

    # A gate as curl sees it: reads the key from the settings on standard input, answers by it.
    bare_path
    stand_in curl <<'TEXT'
settings=$(cat)
while [ $# -gt 0 ]; do
    case $1 in
    --output) body=$2 && shift ;;
    http*) target=$1 ;;
    esac
    shift
done
echo "$target $settings" >>"${body%/*}/../calls"
case $settings in
'') set -- 401 application/problem+json '{"code":"missing_key"}' ;;
'header = "x-api-key: right"') set -- "${RIGHT_STATUS-200}" "${RIGHT_TYPE-application/json}" '{"events":[]}' ;;
*) set -- 403 application/problem+json '{"code":"invalid_key"}' ;;
esac
printf '%s' "$3" >"$body"
printf '%s %s' "$1" "$2"
TEXT
    local path=$folder/bin
    run env PATH="$path" TMPDIR="$folder" "$smoke" right http://127.0.0.1:1/
    expect 'smoke.sh on a good gate' 0 'ok    with the key: 200'
    run grep -F 'http://127.0.0.1:1/events/search?q=earnings&limit=3' "$folder/calls"
    expect 'smoke.sh asks for the events' 0 'header = "x-api-key: right"'
    run env PATH="$path" TMPDIR="$folder" RR_TEST_KEY=right SMOKE_PATH=/x "$smoke"
    expect 'smoke.sh with the key in the environment' 0 'ok    with the key: 200'
    run env PATH="$path" TMPDIR="$folder" RIGHT_STATUS=402 "$smoke" right
    expect 'smoke.sh names the status that differs' 1 'FAIL  with the key: status 402 instead of 200'
    run env PATH="$path" TMPDIR="$folder" RIGHT_TYPE=text/html "$smoke" right
    expect 'smoke.sh names the type that differs' 1 'content type text/html instead of application/json'
    run env PATH="$path" TMPDIR="$folder" SMOKE_INVALID_KEY_STATUS=401 "$smoke" right
    expect 'smoke.sh with another status for wrong keys' 1 'with a wrong key: status 403 instead of 401'
    run find "$folder" -mindepth 1 -name 'tmp.*' -exec false {} +
    expect 'smoke.sh leaves no folder behind' 0 ''
}

quickstart() {
    local quickstart=$root/deploy/quickstart
    bare_path
    run env PATH="$folder/bin" "$quickstart"; expect 'quickstart without cargo' 1 'cargo is missing'

    # A cargo that "builds" a demo, which notes its arguments, waits for SIGTERM and leaves with 7.
    stand_in cargo <<TEXT
mkdir=\$(PATH=$PATH command -v mkdir)
while [ \$# -gt 0 ]; do [ "\$1" = --target-dir ] && target=\$2; shift; done
\$mkdir -p "\$target/release"
cat >"\$target/release/tollgate" <<'DEMO'
#!/bin/bash
echo "demo runs: \$*"
trap 'exit 7' TERM
while :; do sleep 0.05; done
DEMO
$(command -v chmod) +x "\$target/release/tollgate"
TEXT
    run env PATH="$folder/bin" "$quickstart"
    expect 'quickstart without cmake, make, cc and apt-get' 1 'sudo apt-get update && sudo apt-get install -y cmake make gcc libc6-dev'
    stand_in id <<<'echo 1000'
    stand_in apt-get <<<'exit 1'
    stand_in sudo <<<'exit 1'
    run env PATH="$folder/bin" "$quickstart"
    expect 'quickstart without the right to install' 1 'sudo apt-get update && sudo apt-get install -y cmake make gcc libc6-dev'

    stand_in id <<<'echo 0'
    stand_in apt-get <<<'echo E: no such package; exit 100'
    run env PATH="$folder/bin" "$quickstart"
    expect 'quickstart when the installation fails' 1 'E: no such package'

    stand_in apt-get <<<"echo \"\$*\" >>'$folder/installed'"
    (cd / && exec env PATH="$folder/bin" CARGO_TARGET_DIR="$folder/built" "$quickstart" --extra) >"$folder/out" 2>&1 &
    started=$!
    for _ in $(seq 200); do
        grep -q 'demo runs' "$folder/out" && break
        sleep 0.05
    done
    kill "$started"
    wait "$started"
    status=$?
    started=
    expect 'quickstart hands SIGTERM and the status through' 7 'demo runs: demo --extra'
    run cat "$folder/installed"
    expect 'quickstart installs what is missing' 0 'install -y -qq --no-install-recommends cmake make gcc libc6-dev'

    stand_in cargo <<<"echo \$\$ >'$folder/building'; exec sleep 60"
    (exec env PATH="$folder/bin" CARGO_TARGET_DIR="$folder/built" "$quickstart") >"$folder/out" 2>&1 &
    started=$!
    for _ in $(seq 200); do
        [ ! -s "$folder/building" ] || break
        sleep 0.05
    done
    kill "$started"
    wait "$started"
    status=$?
    started=
    expect 'quickstart stopped while it builds' 143 'building'
    sleep 0.2
    run kill -0 "$(cat "$folder/building")"
    expect 'the build stops with quickstart' 1 ''

    stand_in cargo <<<'echo error: no; exit 101'
    run env PATH="$folder/bin" "$quickstart"; expect 'quickstart when the build fails' 1 'the build failed'
}

# Services that say where they are and end with their standard input, as the real ones do.
services_sh() {
    local sourced=". '$root/deploy/build-tools.sh'; . '$root/tests/services.sh'; set -euo pipefail"
    bare_path
    run env PATH="$folder/bin" bash -c "$sourced; missing_service_packages"
    expect 'services.sh names what is missing' 0 'redis-server prometheus util-linux'

    local examples=$folder/built/debug/examples
    mkdir -p "$examples"
    stand_in services <<TEXT
echo TOLLGATE_TEST_POSTGRES=postgres://a@b/c?d=e
echo TOLLGATE_TEST_REDIS_CLUSTER=redis://a,redis://b
echo
while read -r _; do :; done
: >'$folder/ended'
TEXT
    mv "$folder/bin/services" "$examples/services"
    run env CARGO_TARGET_DIR="$folder/built" bash -c "$sourced; start_services
        printenv TOLLGATE_TEST_POSTGRES; stop_services; test -e '$folder/ended'; stop_services"
    expect 'services.sh exports what the services say, and ends them' 0 'postgres://a@b/c?d=e'
    rm "$folder/ended"
    # In another shell, which takes note that it was killed.
    run env CARGO_TARGET_DIR="$folder/built" SCRIPT="$sourced; start_services; kill -KILL \$\$" \
        bash -c 'bash -c "$SCRIPT"; true'
    for _ in $(seq 200); do
        [ ! -e "$folder/ended" ] || break
        sleep 0.05
    done
    run test -e "$folder/ended"
    expect 'services end with a shell that is killed' 0 ''
    printf '#!/bin/bash\nexit 1\n' >"$examples/services"
    run env CARGO_TARGET_DIR="$folder/built" bash -c "trap stop_services EXIT; $sourced; start_services"
    expect 'services.sh tells that none started' 1 'did not start'
}

# A copy of the manifests, in which every crate is empty.
copy_manifests() {
    rm -rf "$folder/copy"
    mkdir -p "$folder/copy"
    local manifest
    for manifest in "$root"/{gateway,admin-api,config,crates/*,tests/*}/Cargo.toml; do
        local crate=${manifest#"$root/"}
        crate=$folder/copy/${crate%/Cargo.toml}
        mkdir -p "$crate/src"
        # Empty benches are cut off: what they need is no arrow.
        sed '/^\[\[bench\]\]/,/^$/d' "$manifest" >"$crate/Cargo.toml"
        touch "$crate/src/lib.rs"
        if grep -q '^path = "src/main.rs"' "$manifest"; then touch "$crate/src/main.rs"; fi
    done
    cp "$root/Cargo.toml" "$root/Cargo.lock" "$folder/copy/"
}

# add_dependency MANIFEST NAME: to the copy.
add_dependency() {
    sed -i "s/^\[dependencies\]/&\n$2.workspace = true/" "$folder/copy/$1"
}

arrows() {
    copy_manifests
    add_dependency crates/domain/Cargo.toml tokio
    add_dependency crates/limiter/Cargo.toml tollgate-config
    add_dependency admin-api/Cargo.toml tollgate-gateway
    add_dependency gateway/Cargo.toml sqlx
    add_dependency config/Cargo.toml async-trait
    # The lock file learns of them; whatever it names is there already.
    run cargo tree --quiet --offline --workspace --depth 0 --manifest-path "$folder/copy/Cargo.toml"
    expect 'the copy with wrong arrows is a workspace' 0 tollgate-domain
    run "$root/.ci/arrows" "$folder/copy"
    expect 'a runtime in the domain' 1 'tollgate-domain must not reach tokio'
    expect 'the config in the limiter' 1 'tollgate-limiter must not use tollgate-config'
    expect 'the gateway in admin-api' 1 'tollgate-admin-api must not use tollgate-gateway'
    expect 'the proxy in admin-api, by way of the gateway' 1 'tollgate-admin-api must not reach pingora'
    expect 'sqlx in the gateway' 1 'tollgate-gateway must not name sqlx itself'
    # What the config may have is not among them; what reaches it through the limiter is the limiter's.
    run grep -c 'arrows: tollgate-config' "$folder/out"
    expect 'a harmless dependency' 1 0
}

for suite in smoke_sh quickstart services_sh arrows; do
    "$suite"
done
printf 'scripts: %s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
