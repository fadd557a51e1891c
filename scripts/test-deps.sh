#!/usr/bin/env bash
# Installs what the tests need from the distribution (Debian, Ubuntu), when it
# is root; otherwise it says what is missing and which tests that costs.
# With "systemd": also what boots whole machines, for test-systemd.sh. With "bench": also what hbagent is measured
# beside, for bench.sh.
set -euo pipefail

# command -> package
declare -A need=(
  [ip]=iproute2 [nft]=nftables [tcpdump]=tcpdump [setpriv]=util-linux
  [apache2]=apache2 [mariadbd]=mariadb-server [memcached]=memcached [php]=php-cli [nginx]=nginx-light
  [gcc]=gcc [systemd-analyze]=systemd [spin]=spin
  [groff]=groff-base [promtool]=prometheus
  [chromium]=chromium [node]=nodejs [npm]=npm
  [keepalived]=keepalived
)
if [ "${1:-}" = systemd ]; then
  need+=([systemd-nspawn]=systemd-container [debootstrap]=debootstrap [nsenter]=util-linux [ssh]=openssh-client [curl]=curl)
fi
if [ "${1:-}" = bench ]; then
  need+=([ucarp]=ucarp [pacemakerd]=pacemaker [crm_resource]=pacemaker-cli-utils [corosync]=corosync)
fi
missing=()
for cmd in "${!need[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$cmd" >/dev/null || missing+=("${need[$cmd]}")
done
compgen -G '/usr/lib/apache2/modules/libphp*.so' >/dev/null || missing+=(libapache2-mod-php)
compgen -G '/usr/lib/php/*/mysqli.so' >/dev/null || missing+=(php-mysql)
compgen -G '/usr/lib/php/*/memcached.so' >/dev/null || missing+=(php-memcached)
if [ "${1:-}" = bench ] && [ ! -e /usr/lib/ocf/resource.d/heartbeat/IPaddr2 ]; then missing+=(resource-agents); fi
# Without any font a browser draws no text.
[ -e /usr/share/fonts/truetype/liberation ] || missing+=(fonts-liberation)
# The race detector needs the C library's headers beside the compiler.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "test-deps: not installed: ${missing[*]}" >&2
  echo "test-deps: the tests that need them say that they are skipped; as root 'make test-deps' installs them" >&2
  exit 0
fi

# The services are for the tests, which start their own: none may start because
# of us, now or (see the end) at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
# Debian enables what it installs. Who had the service before keeps it.
units=(apache2 mariadb memcached nginx prometheus keepalived pacemaker corosync logd)
enabled() { command -v systemctl >/dev/null && systemctl -q is-enabled "$1" 2>/dev/null; }
had=" "
for unit in "${units[@]}"; do if enabled "$unit"; then had+="$unit "; fi; done
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [ "${1:-}" = bench ]; then # one that is not to be had must not cost the others
  for package in "${missing[@]}"; do
    apt-get install -y -qq --no-install-recommends "$package" </dev/null || echo "test-deps: not installed: $package" >&2
  done
else
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
fi
for unit in "${units[@]}"; do
  case $had in *" $unit "*) continue ;; esac
  if enabled "$unit"; then systemctl -q disable "$unit" || true; fi
done
