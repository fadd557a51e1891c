#!/usr/bin/env bash
# The file system that the booted machines of `make test-systemd` and `make
# hosts` start from: a small system of this machine's own distribution with
# systemd, Apache, an nginx that is not started, and an SSH server. Made once
# (about a minute, 400 MB), kept, and only read from then on. Prints where it is.
#
# HBAGENT_HOSTS_CACHE is where it is kept: on a disk, not on a tmpfs.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${HBAGENT_HOSTS_CACHE:-/var/cache/hbagent-hosts}

# What a small server has. No hbagent, and no nftables: the agent needs the
# kernel's only.
packages=systemd,systemd-sysv,dbus,iproute2,iputils-ping,procps,apache2,nginx-light,curl,openssh-server,openssh-client

fail() { echo "hosts-base: $*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "needs root"
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$suite" ] || fail "this distribution has no code name: it takes a Debian or an Ubuntu"
# Another recipe makes another base.
base=$cache/$suite-$(sha256sum "$0" | cut -c1-12)

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
# What other recipes have made, and nobody has used for two weeks.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -path "$base" -mtime +14 -exec rm -rf --one-file-system {} +
if [ -d "$base" ]; then
  touch "$base"
  echo "$base"
  exit 0
fi
command -v debootstrap >/dev/null || fail "debootstrap is missing: scripts/test-deps.sh systemd installs it"

making=$cache/making log=$cache/debootstrap.log
rm -rf --one-file-system "$making"
trap 'rm -rf --one-file-system "$making"' EXIT
# From where this machine has its packages, too.
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" 'Component: main' 'Created-By: Packages' 2>/dev/null | head -n 1)
echo "hosts-base: making $base, once" >&2
components=main
[ "$(. /etc/os-release && echo "$ID")" != ubuntu ] || components=main,universe
# In a mount namespace of its own: interrupted, it leaves no mounts behind.
unshare --mount --propagation private debootstrap --variant=minbase --components=$components --include=$packages "$suite" "$making" \
  ${mirror:+"$mirror"} >"$log" 2>&1 </dev/null ||
  { tail -n 20 "$log" >&2; fail "debootstrap failed: $log"; }

# A machine that boots from it is a new one, and does only what is asked of it.
: >"$making/etc/machine-id"
rm -f "$making/var/lib/dbus/machine-id" "$making/etc/hostname"
for unit in getty@tty1.service console-getty.service e2scrub_reap.service systemd-timesyncd.service systemd-resolved.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer; do
  ln -sf /dev/null "$making/etc/systemd/system/$unit"
done
chroot "$making" systemctl --quiet disable nginx.service # port 80 is Apache's
chroot "$making" systemctl --quiet enable systemd-networkd.service apache2.service ssh.service
# The machines trust each other, as those of one administrator do.
install -d -m 0700 "$making/root/.ssh"
chroot "$making" ssh-keygen -q -t ed25519 -N '' -C hosts -f /root/.ssh/id_ed25519
cp "$making/root/.ssh/id_ed25519.pub" "$making/root/.ssh/authorized_keys"
printf 'StrictHostKeyChecking accept-new\nLogLevel ERROR\n' >"$making/root/.ssh/config"
chroot "$making" apt-get clean

mv "$making" "$base"
echo "$base"
