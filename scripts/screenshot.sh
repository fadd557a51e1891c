#!/usr/bin/env bash
# The pictures of docs/status-page.md, drawn by Chromium from scripted agents behind the page's real server.
# The text is set in Inter (Debian: fonts-inter), as a desktop's own font would be.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v chromium >/dev/null || { echo "screenshot: needs Chromium: apt install chromium" >&2; exit 1; }
for fonts in /usr/share/fonts/opentype/inter /usr/share/fonts/truetype/liberation; do
  [ -d "$fonts" ] || { echo "screenshot: no fonts in $fonts: apt install fonts-inter fonts-liberation" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/fonts.conf" <<EOF
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
<dir>/usr/share/fonts/opentype/inter</dir>
<dir>/usr/share/fonts/truetype/liberation</dir>
<cachedir>$work/cache</cachedir>
<alias binding="same"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="same"><family>sans</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>
EOF
mkdir -p docs/images
FONTCONFIG_FILE=$work/fonts.conf go run -C tools/page . -o "$PWD/docs/images" "$@"
