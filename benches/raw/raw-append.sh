#!/usr/bin/env bash
# The raw limit of appends on this machine: bare single-row INSERTs, each its own durable commit, into a plain event table
# (bigserial key, one index on stream and id), with and without the per-row NOTIFY trigger.
# Prints one JSON line per client count; an event store's append rate is quoted as a ratio to "plain" of the same run.
#
#   raw-append.sh URL [seconds=5] [payload_bytes=300] [clients="1 8 32"]
#
# Needs psql and pgbench on the PATH (or PGBIN). Works in a schema of its own (raw_append), dropped at the end.
set -euo pipefail
url=${1:?URL of a scratch database}; seconds=${2:-5}; bytes=${3:-300}; clients=${4:-1 8 32}
PATH=${PGBIN:+$PGBIN:}$PATH
q() { psql -qAtX -v ON_ERROR_STOP=1 "$url" "$@"; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"; q -c "drop schema if exists raw_append cascade" 2>/dev/null' EXIT
cat >"$tmp/append.sql" <<SQL
\set s random(1, 1000)
insert into raw_append.events (stream, type, run_id, flow_name, data)
  values (concat_ws(chr(58), 'nq', 'flow', :s::int), 'step.completed', '0b8f6d3e-8d0a-4c5e-9d53-0c1f6a6a7b10', 'bench', jsonb_build_object('pad', repeat('x', greatest($bytes - 20, 0))));
SQL
for c in $clients; do
  declare -A rate=()
  for mode in plain trigger; do
    q -c "set client_min_messages = warning" -c "drop schema if exists raw_append cascade" -c "create schema raw_append
      create table events (id bigserial primary key, stream varchar(255) not null, ts timestamptz not null default now(), type varchar(100) not null,
        run_id uuid not null, flow_name varchar(255) not null, step_name varchar(255), step_id varchar(255), attempt int, data jsonb not null)
      create index events_stream on events (stream, id)"
    if [ $mode = trigger ]; then
      q -c "create function raw_append.tell() returns trigger language plpgsql as \$\$ begin
              perform pg_notify('raw_append', json_build_object('stream', new.stream, 'id', new.id, 'type', new.type)::text); return new; end \$\$" \
        -c "create trigger tell after insert on raw_append.events for each row execute function raw_append.tell()"
    fi
    pgbench -n -M prepared -f "$tmp/append.sql" -c "$c" -j 1 -T "$seconds" "$url" >"$tmp/out" 2>&1 || { cat "$tmp/out" >&2; exit 1; }
    rate[$mode]=$(awk '/^tps/ { printf "%d", $3 }' "$tmp/out")
  done
  echo "{\"bench\":\"raw-append\",\"clients\":$c,\"payload_bytes\":$bytes,\"plain_per_s\":${rate[plain]},\"with_row_trigger_per_s\":${rate[trigger]}}"
done
