#!/usr/bin/env bash
# The raw limit of a drain on this machine: claim + settle in hand-written SQL, no client work at all, on the narrow
# layout of the native queue with history and a listing index kept, every batch durably committed (claim and settle
# are two transactions). Prints one JSON line; the drain of a queue is quoted as a ratio to the best of its client counts,
# measured in the same run.
#
#   raw-drain.sh URL [jobs=200000] [payload_bytes=100] [batch=200] [clients="1 2 4"]
#
# Needs psql and pgbench on the PATH (or PGBIN). Works in a schema of its own (raw_drain), dropped at the end.
set -euo pipefail
url=${1:?URL of a scratch database}; jobs=${2:-200000}; bytes=${3:-100}; batch=${4:-200}; clients=${5:-"1 2 4"}
PATH=${PGBIN:+$PGBIN:}$PATH
q() { psql -qAtX -v ON_ERROR_STOP=1 "$url" "$@"; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"; q -c "drop schema if exists raw_drain cascade" 2>/dev/null' EXIT
cat >"$tmp/drain.sql" <<'SQL'
with c as (select ctid from raw_drain.live where queue = 1 and state = 'r' order by priority, seq limit :batch for update skip locked),
     u as (update raw_drain.live l set state = 'a', worker = :client_id, claim = nextval('raw_drain.claim'), attempt = l.attempt + 1
             where l.ctid = any(array(select ctid from c)) returning l.id, l.claim, l.seq)
select array_agg(b.id order by u.seq) ids, array_agg(u.claim order by u.seq) claims, sum(length(b.data::text)) from u join raw_drain.job b using (id) \gset
with d as (delete from raw_drain.live l using unnest(:ids::uuid[], :claims::bigint[]) s(id, claim)
             where l.id = s.id and l.claim = s.claim returning l.id, l.queue, l.attempt)
insert into raw_drain.done (id, queue, name, state, attempt, output) select id, queue, 'noop', 'c', attempt, jsonb_build_object('ok', true) from d;
SQL
sed -i "s/:batch/$batch/" "$tmp/drain.sql"
best=0; parts=()
for c in $clients; do
  q -c "set client_min_messages = warning" -c "drop schema if exists raw_drain cascade" -c "create schema raw_drain
    create table job (id uuid primary key, queue int not null, name text not null, data jsonb not null, created_at timestamptz not null default now())
    create table live (id uuid primary key, queue int not null, priority int not null default 0, seq bigint generated always as identity,
      state \"char\" not null default 'r', run_at timestamptz, worker int, claim bigint, attempt int not null default 0) with (fillfactor = 80)
    create index live_ready on live (queue, priority, seq) where state = 'r'
    create index live_held on live (worker) where worker is not null
    create table done (id uuid primary key, queue int not null, name text not null, state \"char\" not null, attempt int not null,
      finished_at timestamptz not null default now(), output jsonb)
    create index done_list on done (queue, state, finished_at, id)
    create sequence claim cache 200" \
    -c "insert into raw_drain.job select gen_random_uuid(), 1, 'noop', jsonb_build_object('n', i, 'pad', repeat('x', greatest($bytes - 30, 0))) from generate_series(1, $jobs) i" \
    -c "insert into raw_drain.live (id, queue) select id, 1 from raw_drain.job" -c "analyze raw_drain.job" -c "analyze raw_drain.live" -c "checkpoint" >/dev/null
  tx=$((jobs / batch / c)); start=$(date +%s.%N)
  pgbench -n -M prepared -f "$tmp/drain.sql" -c "$c" -j "$c" -t "$tx" "$url" >"$tmp/out" 2>&1 || { cat "$tmp/out" >&2; exit 1; }
  end=$(date +%s.%N)
  done_n=$(q -c "select count(*) from raw_drain.done"); [ "$done_n" -ge $((tx * c * batch * 9 / 10)) ] || { echo "only $done_n settled" >&2; exit 1; }
  rate=$(awk -v n="$done_n" -v s="$start" -v e="$end" 'BEGIN { printf "%d", n / (e - s) }')
  parts+=("\"$c\":$rate"); [ "$rate" -gt "$best" ] && best=$rate
done
(IFS=,; echo "{\"bench\":\"raw-drain\",\"jobs\":$jobs,\"payload_bytes\":$bytes,\"batch\":$batch,\"jobs_per_s\":{${parts[*]}},\"best\":$best}")
