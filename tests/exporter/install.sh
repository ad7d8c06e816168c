#!/bin/sh
# A real Prometheus for the exporter's test, where this is Debian and we may install it. No service is started.
set -eu
command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update --quiet --quiet
    # where there is an init it would start the server
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends prometheus
else
    echo "the exporter's test needs prometheus (apt install prometheus, as root); it will be skipped" >&2
    [ "${CI:-}" != true ]
fi
