#!/usr/bin/env bash
# Makes sure that Python >= 3.11 with venv, Java >= 17 and Maven are there: the local stack runs the real Kafka from its
# published jars. On Debian and Ubuntu as root what is missing is installed; elsewhere the command that installs it is printed.
set -euo pipefail

missing=()
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)}
if [ -z "$PYTHON" ] || ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then missing+=(python3); fi
if [ -n "$PYTHON" ] && ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive $install -qq
else
    echo "gamebus needs ${missing[*]} (Python 3.11 or newer, Java 17 or newer, Maven). On Debian or Ubuntu: sudo $install" >&2
    exit 1
fi
