#!/bin/sh
# Installs packages of Debian or Ubuntu. Their daemons neither run afterwards nor at the next boot: the tests start servers of their own, and
# one on the default port would only be in the way. To be run as root: sh install-with-apt.sh PACKAGE…
set -eu

# What a package asks before it starts its daemon. 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"

# Only packages with a daemon have these.
for package in "$@"; do
    if [ -e "/etc/init.d/$package" ]; then
        update-rc.d "$package" disable
    fi
    if command -v systemctl >/dev/null && [ -e "/lib/systemd/system/$package.service" ]; then
        systemctl --quiet disable "$package.service"
    fi
done
