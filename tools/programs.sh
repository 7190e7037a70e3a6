#!/bin/sh
# Installs programs of the system that are missing, and says so before it does.
# Each argument is command:package:what is left out without it. A program that cannot be installed is no failure.
needed=
for program; do
    rest=${program#*:}
    command -v "${program%%:*}" >/dev/null || needed="$needed ${rest%%:*}"
done
[ -n "$needed" ] || exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "make setup: installing$needed with apt-get"
    # shellcheck disable=SC2086
    { apt-get update -qq && apt-get install -qq -y $needed; } >/dev/null </dev/null ||
        echo "make setup: apt-get failed" >&2
fi
for program; do
    rest=${program#*:}
    command -v "${program%%:*}" >/dev/null ||
        echo "make setup: ${rest%%:*} is not installed, so this is left out: ${rest#*:}" >&2
done
exit 0
