# shellcheck shell=bash
# The services that tests of a fleet need; sourced by tests/run and tests/shows.sh, not run by itself. It needs
# deploy/build-tools.sh beside it, and CARGO_TARGET_DIR.
#
# PostgreSQL, Redis and a Redis Cluster of three are started on free ports with their data in a throwaway folder, each
# from the system's own package. What the package itself may have started on this machine is left alone and not used.

# Prints the Debian packages that are missing for the services, in one line; nothing when none is.
missing_service_packages() {
    local packages=()
    # Debian keeps the server's own programs off PATH.
    command -v initdb /usr/lib/postgresql/*/bin/initdb >/dev/null || packages+=(postgresql)
    command -v redis-server >/dev/null || packages+=(redis-server)
    command -v prometheus >/dev/null || packages+=(prometheus)
    # It ends servers with the test that started them.
    command -v setpriv >/dev/null || packages+=(util-linux)
    echo "${packages[*]}"
}

# Starts them and exports where they are: TOLLGATE_TEST_POSTGRES, TOLLGATE_TEST_REDIS, TOLLGATE_TEST_REDIS_CLUSTER.
# They end when their standard input does, so with this shell, however it ends.
start_services() {
    local name value output
    unset TOLLGATE_TEST_POSTGRES TOLLGATE_TEST_REDIS TOLLGATE_TEST_REDIS_CLUSTER
    # shellcheck disable=SC2034 # its array is what is used
    coproc SERVICES { exec "$CARGO_TARGET_DIR/debug/examples/services"; }
    # Bash takes the array back as soon as it sees that the process has ended.
    services=${SERVICES_PID-} services_input=${SERVICES[1]-} output=${SERVICES[0]-}
    while [ -n "$output" ] && IFS='=' read -r name value <&"$output" && [ -n "$name" ]; do
        export "$name=$value"
    done
    [ -n "${TOLLGATE_TEST_REDIS_CLUSTER-}" ] || {
        say 'the services did not start'
        return 1
    }
}

# Ends them and waits until they are gone.
stop_services() {
    [ -n "${services-}" ] || return 0
    # It is closed already where they are gone already.
    [ -z "$services_input" ] || { exec {services_input}>&-; } 2>/dev/null || true
    wait "$services" 2>/dev/null || true
    services=
}
