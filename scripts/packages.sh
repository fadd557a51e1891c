#!/usr/bin/env bash
# Builds dist/*.deb and dist/*.rpm for ARCH (that of this machine). The same
# commit makes the same bytes: versions and times come from git only, unless
# VERSION (like a tag: v1.2.0) says another version. DIST is another directory.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
ARCH=${ARCH:-$("$go" env GOARCH)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export ARCH SOURCE_DATE_EPOCH TZ=UTC
umask 022

# package_version makes of `git describe` what dpkg and rpm sort as we mean it:
# 1.2.0~rc.1 < 1.2.0 < 1.2.0+4.gabc. Before the first tag it counts the commits.
package_version() {
  local described=$1 dirty=
  case $described in *-dirty) dirty=+dirty described=${described%-dirty} ;; esac
  if [[ $described =~ ^v?([0-9][^-]*)(-([a-z][a-z0-9.]*))?(-([0-9]+)-(g[0-9a-f]+))?$ && $described == *.* ]]; then
    local tilde=${BASH_REMATCH[3]:+\~${BASH_REMATCH[3]}} commits=${BASH_REMATCH[5]:++${BASH_REMATCH[5]}.${BASH_REMATCH[6]}}
    echo "${BASH_REMATCH[1]}$tilde$commits$dirty"
  else
    echo "0.0.0+$(git rev-list --count HEAD).g$(git rev-parse --short=12 HEAD)$dirty"
  fi
}
PACKAGE_VERSION=$(package_version "${VERSION:-$(git describe --tags --always --dirty)}")
export PACKAGE_VERSION

# What runs here is built for here, whatever GOARCH the packages are for.
GOARCH=$("$go" env GOHOSTARCH)
export GOARCH

# nfpm has a module of its own: nothing that it needs is needed by the agent.
"$go" build -C tools/nfpm -o "$PWD/bin/nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm

out=${DIST:-dist}
rm -rf dist/stage "$out"/hbagent[-_]*.deb "$out"/hbagent-*.rpm
mkdir -p dist/stage/man "$out"
make -s build
GOARCH=$ARCH make -s build BIN=dist/stage/hbagent
for shell in bash zsh fish; do bin/hbagent completion $shell >dist/stage/hbagent.$shell; done
bin/hbagent man dist/stage/man
gzip -9n dist/stage/man/*
gzip -9nc CHANGELOG.md >dist/stage/changelog.gz

for packager in deb rpm; do
  bin/nfpm package --config deploy/package/nfpm.yaml --packager $packager --target "$out/" >/dev/null
done
rm -rf dist/stage
ls "$out"/*.deb "$out"/*.rpm
