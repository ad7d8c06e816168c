#!/bin/sh
# sh tests/install.sh WHAT PACKAGE...: what some tests need from the distribution, where this is Debian and we may install
# it. Elsewhere those tests are skipped, but under CI=true that is a failure.
set -eu
what=$1
shift
missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "$what:$missing needed (apt install, as root); they will be skipped" >&2
    [ "${CI:-}" != true ]
    exit
fi
apt-get update --quiet --quiet
# Where there is an init, a package that is a service would be started.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086  # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $missing
