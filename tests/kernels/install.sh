#!/bin/sh
# What the tests on real kernels need from the distribution, where this is Debian and we may install it.
set -eu
packages="qemu-system-x86 busybox-static python3-bpfcc bpftool gcc libc6-dev kmod file zstd systemd"
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
    echo "the tests on real kernels need:$missing (apt install, as root); they will be skipped" >&2
    [ "${CI:-}" != true ]
fi
