#!/bin/sh
# A member of the Sentinel set starts: whom it follows is what Sentinel says, as in common charts.
DATA=${DATA:-/data} CONF=${CONF:-/etc/bench}
ask() {
  timeout 1 redis-cli -h "$SENTINELS" -p 26379 --raw \
    SENTINEL GET-MASTER-ADDR-BY-NAME bench 2>/dev/null | head -n 1
}

give_up=$(($(date +%s) + 120))
while :; do
  primary=$(ask)
  case $primary in
    ''|*[!0-9.]*) ;;  # no answer yet
    "$POD_IP")
      # The primary was killed and its data with it. As a primary again it would empty its
      # replicas, so it waits until another one has the role; only the very first start goes on.
      if [ ! -e "$DATA"/started ] || [ "$(date +%s)" -gt "$give_up" ]; then break; fi ;;
    *) break ;;
  esac
  sleep 0.1
done
touch "$DATA"/started
cp "$CONF"/redis.conf "$DATA"/redis.conf
[ "$primary" = "$POD_IP" ] || echo "replicaof $primary 6379" >> "$DATA"/redis.conf
exec redis-server "$DATA"/redis.conf
