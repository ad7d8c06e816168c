#!/bin/sh
# What the tests of top in a real terminal need from the distribution, where this is Debian and we may install it.
set -eu
command -v tmux >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends tmux
else
    echo "the tests of top in a terminal need tmux (apt install tmux, as root); they will be skipped" >&2
    [ "${CI:-}" != true ]
fi
