#!/usr/bin/env bash
# Makes sure that Python >= 3.11 with venv, Java >= 17, Maven, and Node >= 20 with npm are there: the local stack runs the real
# Kafka from its published jars, and Node runs the JavaScript client. On Debian and Ubuntu as root what is missing is installed;
# elsewhere the command that installs it is printed. With the argument `browser` Chromium as well, for the browser tests; with
# `promtool` that of Debian's package prometheus, for those of the alert rules.
set -euo pipefail
extra=${1:-}

find_missing() {
    missing=()
    local python=${PYTHON:-$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)}
    if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then missing+=(python3); fi
    if [ -n "$python" ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
    command -v java >/dev/null || missing+=(default-jre-headless)
    command -v mvn >/dev/null || missing+=(maven)
    if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then missing+=(nodejs); fi
    command -v npm >/dev/null || missing+=(npm)
    if [ "$extra" = browser ]; then
        command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
    fi
    if [ "$extra" = promtool ]; then
        command -v promtool >/dev/null || missing+=(prometheus)
    fi
}

find_missing
[ ${#missing[@]} -eq 0 ] && exit 0

needed="gamebus needs Python 3.11 or newer, Java 17 or newer, Maven, and Node 20 or newer with npm"
[ "$extra" != browser ] || needed="$needed, and Chromium for its browser tests"
[ "$extra" != promtool ] || needed="$needed, and promtool for the tests of its alert rules"
install="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive $install -qq
    # A distribution may have older ones: Node 20 comes with Debian 13 and Ubuntu 25.04.
    find_missing
    [ ${#missing[@]} -eq 0 ] && exit 0
    echo "$needed; this distribution's ${missing[*]} will not do" >&2
else
    echo "$needed: ${missing[*]} missing or too old. On Debian or Ubuntu: sudo $install" >&2
fi
exit 1
