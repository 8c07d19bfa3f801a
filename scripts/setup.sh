#!/bin/bash
# Installs what the tests need beside Go, on Debian 12 or a relative of it: the
# clients of e2e (slixmpp, profanity in tmux, Chromium, schemathesis, and what e2e/node/package.json
# names), MariaDB, iproute2 and nftables, and a C compiler for the race detector. What is there already is left alone. Without root and sudo
# it says what is missing: the tests that need it are then skipped; where
# CI=true that is a failure.
set -eu
cd "$(dirname "$0")/.."

# Debian's own Python has Debian's slixmpp; another python3 may come first.
python=/usr/bin/python3

missing=()
have() { "$@" >/dev/null 2>&1 </dev/null; }
have cc --version || missing+=(gcc libc6-dev)
have make --version || missing+=(make)
have tmux -V || missing+=(tmux)
have profanity --version || missing+=(profanity)
have "$python" -c 'import slixmpp' || missing+=(python3-slixmpp)
have "$python" -m venv --help || missing+=(python3-venv)
have node --version || missing+=(nodejs)
have npm --version || missing+=(npm)
have chromium --version || missing+=(chromium)
# The server alone: mariadb-server would start one as a service.
have env PATH="$PATH:/usr/sbin" mariadbd --version || missing+=(mariadb-server-core)
# Networks of bench/partition, which are made and cut.
have env PATH="$PATH:/usr/sbin:/sbin" ip -V || missing+=(iproute2)
have env PATH="$PATH:/usr/sbin:/sbin" nft --version || missing+=(nftables)

give_up() {
    echo "setup: $1" >&2
    [ "${CI:-}" = true ] && exit 1
    echo "setup: going on without; the tests that need it are skipped" >&2
    exit 0
}

if [ ${#missing[@]} -gt 0 ]; then
    sudo=()
    if [ "$(id -u)" != 0 ]; then
        have sudo -n true || [ -t 0 ] && have sudo --version || give_up "cannot install ${missing[*]}: neither root nor sudo"
        sudo=(sudo)
    fi
    have apt-get --version || give_up "cannot install ${missing[*]}: no apt-get on this system"
    apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    echo "setup: installing ${missing[*]}"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        give_up "cannot install ${missing[*]}"
    fi
fi

# In an environment of its own, beside Debian's Python.
install_fuzzer() {
    fuzzer=e2e/python/schemathesis
    have "$fuzzer/bin/schemathesis" --version && return
    echo "setup: installing schemathesis"
    rm -rf "$fuzzer"
    if ! { "$python" -m venv "$fuzzer" && "$fuzzer/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5; } >/dev/null </dev/null; then
        rm -rf "$fuzzer"
        give_up "pip cannot install schemathesis"
    fi
}

install_node() {
    cd e2e/node
    [ node_modules/.package-lock.json -nt package-lock.json ] && return
    echo "setup: installing the clients for Node"
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null </dev/null || give_up "npm cannot install the clients for Node"
}

# Both wait for the network most of the time.
install_fuzzer & fuzzer_job=$!
install_node & node_job=$!
status=0
wait $fuzzer_job || status=$?
wait $node_job || status=$?
exit $status
