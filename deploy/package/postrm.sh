#!/bin/sh
# After the files are gone. The user stays, as Debian does it: what it owned
# must not belong to the next one who gets its number.
set -e
case "$1" in
purge)
  rm -rf /var/lib/hbagent /run/hbagent /etc/hbagent
  rm -f /etc/systemd/system/multi-user.target.wants/hbagent.service
  rm -f /etc/systemd/system/sockets.target.wants/hbagent-commands.socket
  ;;
esac
case "$1" in
remove | purge | 0)
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
  ;;
esac
