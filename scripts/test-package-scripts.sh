#!/usr/bin/env bash
# What the scripts of the packages call, in the order of dpkg and of rpm. DIR
# holds those of the .deb; the .rpm has the same. They see a /run and a /etc of
# their own, and stand-ins for the programs that would touch this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
control=$(cd "$1" && pwd)
for hook in postinst prerm postrm; do cmp "$control/$hook" deploy/package/$hook.sh; done
# rpm makes the user before the unit's files are there: both lines must be the same.
grep -qxF -e "$(grep '^u ' deploy/systemd/hbagent.sysusers)" deploy/package/pre.rpm.sh
for f in deploy/package/*.sh; do sh -n "$f"; done

if [ "$(id -u)" -ne 0 ]; then
  echo "test-packages: not root: what the scripts of the packages call is not tested" >&2
  exit 0
fi
[ -n "${in_namespace:-}" ] || in_namespace=yes exec unshare -m "$BASH" "$PWD/scripts/test-package-scripts.sh" "$control"

for d in /run /etc /mnt; do mount -t tmpfs none $d; done
mkdir -p /run/systemd/system /mnt/bin
for stub in systemctl systemd-sysusers systemd-tmpfiles rm; do
  printf '#!/bin/sh\necho "%s $*" >>/mnt/calls\n' $stub >/mnt/bin/$stub
  chmod +x /mnt/bin/$stub
done
PATH=/mnt/bin:$PATH

# expect WANT SCRIPT ARGS: the calls, joined by "; ".
expect() {
  local want=$1 script=$2 got
  shift 2
  : >/mnt/calls
  said=$(sh "$control/$script" "$@" 2>&1)
  got=$(paste -sd';' /mnt/calls | sed 's/;/; /g')
  [ "$got" = "$want" ] || { echo "test-packages: $script $*: calls '$got', want '$want'" >&2; exit 1; }
}
says() { [[ $said == *"$1"* ]] || { echo "test-packages: it says '$said', want '$1'" >&2; exit 1; }; }
silent() { [ -z "$said" ] || { echo "test-packages: it says '$said'" >&2; exit 1; }; }

setup='systemd-sysusers hbagent.conf; systemd-tmpfiles --create hbagent.conf; systemctl daemon-reload'
for first in 'configure' '1'; do # nothing is started
  expect "$setup" postinst $first ""
  says 'hbagent init'
done
expect "$setup; systemctl try-restart hbagent" postinst configure 1.0
silent
expect "$setup; systemctl try-restart hbagent" postinst 2
silent
expect "$setup; systemctl try-restart hbagent" postinst abort-upgrade 1.1
expect "$setup; systemctl --quiet is-enabled hbagent; systemctl start hbagent" postinst abort-remove
expect '' postinst triggered x

# An upgrade stops nothing and removes nothing.
for upgrade in 'upgrade 1.1' 1; do expect '' prerm $upgrade; done
for upgrade in 'upgrade 1.1' 1; do expect '' postrm $upgrade; done
expect 'systemctl stop hbagent-commands.socket hbagent' prerm remove
expect 'systemctl disable --now hbagent-commands.socket hbagent' prerm 0
expect 'systemctl daemon-reload' postrm remove
expect 'systemctl daemon-reload' postrm 0
expect 'rm -rf /var/lib/hbagent /run/hbagent /etc/hbagent; rm -f /etc/systemd/system/multi-user.target.wants/hbagent.service; rm -f /etc/systemd/system/sockets.target.wants/hbagent-commands.socket; systemctl daemon-reload' \
  postrm purge

# A config that is there needs no advice; a restart that fails fails no upgrade.
mkdir /etc/hbagent
: >/etc/hbagent/hbagent.toml
expect "$setup" postinst configure ""
silent
printf '#!/bin/sh\necho "systemctl $*" >>/mnt/calls\n[ "$1" != try-restart ]\n' >/mnt/bin/systemctl
expect "$setup; systemctl try-restart hbagent" postinst configure 1.0
says 'journalctl -u hbagent'
# In a chroot there is no systemd to talk to.
/bin/rmdir /run/systemd/system
expect 'systemd-sysusers hbagent.conf; systemd-tmpfiles --create hbagent.conf' postinst configure 1.0
expect '' prerm remove
expect '' postrm remove
