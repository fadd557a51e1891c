#!/bin/sh
# After the files are there. dpkg says "configure" and the version that was
# configured before, if any; rpm says how many versions are installed now.
set -e

say_what_to_do() {
  if [ ! -e /etc/hbagent/hbagent.toml ]; then
    cat <<'EOF'
hbagent is installed and not started: it has no config yet.
  hbagent init     asks for the machines and the floating address, and writes it
Do that on one machine; it says what to copy to the others.
EOF
  fi
}

upgrade=
case "$1" in
configure) [ -z "$2" ] || upgrade=yes ;;
1) ;;
[2-9]*) upgrade=yes ;;
# dpkg takes a removal or an upgrade back: the old files are there again.
abort-*) upgrade=yes ;;
*) exit 0 ;;
esac

systemd-sysusers hbagent.conf
systemd-tmpfiles --create hbagent.conf
# Not in a chroot, nor in a container without systemd.
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  if [ "$1" = abort-remove ] && systemctl --quiet is-enabled hbagent; then
    systemctl start hbagent # prerm has stopped it
  elif [ -n "$upgrade" ]; then
    # The new process resumes the leases of the old one: no address moves. A
    # restart that fails must not leave the package half configured.
    systemctl try-restart hbagent || echo "hbagent did not start again: journalctl -u hbagent" >&2
  fi
fi
[ -n "$upgrade" ] || say_what_to_do
