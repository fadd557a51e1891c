#!/bin/sh
# Before the files go. dpkg says "remove" or "upgrade", rpm how many versions
# will be left. An upgrade stops nothing: a stop hands the addresses over, and
# the restart in postinst keeps them.
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove) systemctl stop hbagent-commands.socket hbagent ;;
# rpm knows no purge: what is removed is not enabled any more, either.
0) systemctl disable --now hbagent-commands.socket hbagent ;;
esac
