#!/bin/bash
# Installs the servers that bench/compare sets beside chatd: ejabberd and Prosody, of Debian's packages. No service of theirs is
# started now or at boot: bench/compare runs its own processes, with its own configuration and data. What is there already is
# left as it is.
set -eu

is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
missing=()
for package in ejabberd prosody; do
    is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
units=("${missing[@]}")
is_installed erlang-base || units+=(epmd.socket epmd.service) # which come with ejabberd

sudo=()
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
        echo "setup: cannot install ${missing[*]}: neither root nor sudo" >&2
        exit 1
    fi
    sudo=(sudo)
fi

# Debian's way to have packages installed whose services are not started (invoke-rc.d(8), policy-rc.d).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
    "${sudo[@]}" chmod 755 $policy
    trap '"${sudo[@]}" rm -f $policy' EXIT
fi
echo "setup: installing ${missing[*]}" >&2
log=$(mktemp)
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
for unit in "${units[@]}"; do
    "${sudo[@]}" systemctl disable "$unit" >/dev/null 2>&1 || true # where there is no systemd, nothing starts it
done
