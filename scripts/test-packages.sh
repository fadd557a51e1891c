#!/usr/bin/env bash
# The packages, without installing them: what is in them, that a second build
# makes the same bytes, that the manual pages are clean, and what the scripts of
# the packages do, with stand-ins for what would touch this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() { echo "test-packages: $*" >&2; exit 1; }

make -s packages >/dev/null
mkdir "$dir/first"
mv dist/*.deb dist/*.rpm "$dir/first/"
make -s packages >/dev/null
for f in "$dir"/first/*; do cmp "$f" "dist/${f##*/}" || fail "not reproducible"; done
deb=$(echo dist/*.deb) rpm=$(echo dist/*.rpm)

# mode, owner and path of everything that is not a page of documentation
arch=$(dpkg-deb -f "$deb" Architecture)
want="drwxr-x--- root/hbagent ./etc/hbagent/
-rwxr-xr-x root/root ./usr/bin/hbagent
-rw-r--r-- root/root ./usr/lib/systemd/system/hbagent-commands.socket
-rw-r--r-- root/root ./usr/lib/systemd/system/hbagent-commands@.service
-rw-r--r-- root/root ./usr/lib/systemd/system/hbagent.service
-rw-r--r-- root/root ./usr/lib/sysusers.d/hbagent.conf
-rw-r--r-- root/root ./usr/lib/tmpfiles.d/hbagent.conf
-rw-r--r-- root/root ./usr/share/bash-completion/completions/hbagent
-rw-r--r-- root/root ./usr/share/doc/hbagent/README.md
-rw-r--r-- root/root ./usr/share/doc/hbagent/changelog.gz
-rw-r--r-- root/root ./usr/share/doc/hbagent/cli-json.md
-rw-r--r-- root/root ./usr/share/doc/hbagent/copyright
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/mysql-pair.toml
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/proxy-pair.toml
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/stage3/hbagent.toml
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/templates/upstreams.tmpl
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/two-machines-witness.toml
-rw-r--r-- root/root ./usr/share/doc/hbagent/examples/web-db-standby.toml
-rw-r--r-- root/root ./usr/share/doc/hbagent/schema/status.schema.json
-rw-r--r-- root/root ./usr/share/doc/hbagent/monitoring/alerts.yml
-rw-r--r-- root/root ./usr/share/doc/hbagent/monitoring/alerts_test.yml
-rw-r--r-- root/root ./usr/share/doc/hbagent/monitoring/grafana-dashboard.json
-rw-r--r-- root/root ./usr/share/doc/hbagent/monitoring/prometheus.yml
-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/hbagent.fish
-rw-r--r-- root/root ./usr/share/man/man5/hbagent.toml.5.gz
-rw-r--r-- root/root ./usr/share/man/man8/hbagent-status.8.gz
-rw-r--r-- root/root ./usr/share/man/man8/hbagent.8.gz
-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_hbagent"
dpkg-deb -c "$deb" | awk '{print $1, $2, $6}' >"$dir/contents"
while read -r line; do grep -qxF -e "$line" "$dir/contents" || fail "the .deb has not: $line"; done <<<"$want"
odd=$(awk '$2 !~ /^root\/(root|hbagent)$/ || $1 !~ /^(d|-rw-r--r--)/' "$dir/contents")
[ "$odd" = '-rwxr-xr-x root/root ./usr/bin/hbagent' ] || fail "odd owner or mode: $odd"
[ "$(dpkg-deb -f "$deb" Package Depends)" = $'Package: hbagent\nDepends: systemd' ] || fail "$(dpkg-deb -I "$deb")"
version=$(dpkg-deb -f "$deb" Version)
[[ ${deb##*/} == "hbagent_${version}_$arch.deb" ]] || fail "$deb is version $version"

[ -s "$rpm" ] || fail "no .rpm"
if command -v rpm >/dev/null; then
  rpm -qlp "$rpm" >"$dir/rpm" 2>/dev/null
  while read -r _ _ path; do
    path=${path#.} path=${path%/} path=${path/vendor-completions/site-functions}
    grep -qxF -e "$path" "$dir/rpm" || fail "the .rpm has not $path"
  done <<<"$want"
  rpm -qp --scripts "$rpm" 2>/dev/null | grep -q 'systemd-sysusers -' || fail "the .rpm has no script before its files"
fi

# What is in it works.
dpkg-deb -x "$deb" "$dir/root"
dpkg-deb -e "$deb" "$dir/control"
if [ "$arch" = "$(dpkg --print-architecture)" ]; then "$dir/root/usr/bin/hbagent" version >/dev/null; fi
bash -n "$dir/root/usr/share/bash-completion/completions/hbagent"
for page in "$dir"/root/usr/share/man/man?/*.gz; do
  zcat "$page" >"$dir/page"
  [ "$(grep -c '^\.SH' "$dir/page")" -ge 3 ] || fail "$page is empty"
  if command -v groff >/dev/null; then
    said=$(groff -man -Tutf8 -ww -z "$dir/page" 2>&1) || fail "$page: $said"
    [ -z "$said" ] || fail "$page: $said"
  elif [ -n "${HBAGENT_TEST_NO_SKIP:-}" ]; then
    fail "groff is missing: install the package groff-base"
  fi
done

scripts/test-package-scripts.sh "$dir/control"
echo "ok  	make packages: contents, modes, the same bytes twice, manual pages, scripts"
