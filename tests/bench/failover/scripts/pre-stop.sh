#!/bin/sh
# A primary that is to stop hands its role over first, as in common charts.
role() { redis-cli ROLE 2>/dev/null | head -n 1; }

[ "$(role)" = master ] || exit 0
redis-cli -h "$SENTINELS" -p 26379 SENTINEL FAILOVER bench > /dev/null 2>&1
for _ in $(seq 100); do
  [ "$(role)" = slave ] && exit 0
  sleep 0.1
done
