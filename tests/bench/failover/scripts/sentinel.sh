#!/bin/sh
# A Sentinel writes its own configuration file; the given one is only for its first start.
DATA=${DATA:-/data} CONF=${CONF:-/etc/bench}
[ -e "$DATA"/sentinel.conf ] || cp "$CONF"/sentinel.conf "$DATA"/sentinel.conf
exec redis-server "$DATA"/sentinel.conf --sentinel
