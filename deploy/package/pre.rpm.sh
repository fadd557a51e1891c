#!/bin/sh
# rpm, before the files: the user that they name. The line is that of
# hbagent.sysusers, which is not unpacked yet.
set -e
systemd-sysusers - <<'EOF'
u hbagent - "hbagent IP failover agent" /var/lib/hbagent
EOF
