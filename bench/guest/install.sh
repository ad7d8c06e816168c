#!/bin/sh
# What the comparisons in a guest need beside the tests on real kernels, where this is Debian and we may install it.
set -eu
sh "$(dirname "$0")/../../tests/kernels/install.sh"
packages="trace-cmd bpftrace linux-perf"
missing=""
for package in $packages; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update --quiet --quiet
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $missing
else
    echo "the comparisons in a guest need:$missing (apt install, as root)" >&2
    exit 1
fi
