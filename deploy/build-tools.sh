# shellcheck shell=bash
# What a build needs beside Rust; sourced by deploy/quickstart and tests/run, not run by itself.
#
# cmake, make and a C compiler build zlib-ng (of the proxy), SQLite, ring and the allocator.

# Prints on standard error what a script is doing: one line each.
say() {
    printf '==> %s\n' "$*" >&2
}

# Prints the Debian packages that are missing for a build, in one line; nothing when none is.
missing_build_packages() {
    local packages=()
    command -v cmake >/dev/null || packages+=(cmake)
    command -v make >/dev/null || packages+=(make)
    # The C library's headers are only recommended by gcc, and nothing links without them.
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    echo "${packages[*]}"
}

# Installs the named Debian packages, as root or with a sudo that asks nothing; otherwise prints the one line to run and
# leaves with 1. Does nothing when none is named.
install_packages() {
    [ $# -gt 0 ] || return 0
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        say "missing: $*. Install what your system calls them; on Debian or Ubuntu:"
        echo "    sudo apt-get update && sudo apt-get install -y $*" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
        if ! sudo -n true 2>/dev/null; then
            say "missing: $*. Run this, then try again:"
            echo "    sudo apt-get update && sudo apt-get install -y $*" >&2
            exit 1
        fi
    fi
    say "installing $*"
    local log
    log=$(mktemp)
    # A list that cannot be renewed is no failure yet: an older one may still name the packages.
    if ! { "${as_root[@]}" apt-get update -qq || true; } >"$log" 2>&1 </dev/null \
        || ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        say "could not install $*: see above"
        exit 1
    fi
    rm -f "$log"
}

# Leaves with 1 unless cargo is there.
require_cargo() {
    command -v cargo >/dev/null && return 0
    say "cargo is missing: install Rust (rustup, stable) first, or put it on PATH"
    exit 1
}
