#!/usr/bin/env bash
# The raw limit of a drain on pg-boss's own tables on this machine: fetch + complete in hand-written SQL, no client work
# at all, with pg-boss's indexes, its fence, and its history (state `completed`), every batch durably committed (fetch
# and complete are two transactions). The plans are the best there are: jobs by their place in the table, statistics
# fresh, plans kept. Prints one JSON line; the drain of a queue is quoted as a ratio to the best of its batch sizes and
# client counts, measured in the same run.
#
#   pgboss-drain.sh URL SCHEMA [jobs=100000] [payload_bytes=100] [batches="200 1000"] [clients="1 2 4"]
#
# Needs psql and pgbench on the PATH (or PGBIN), and a schema of pg-boss's (43 to 46) without any job, which it refuses
# otherwise: it empties the common table of jobs before each try, and leaves it empty. The harness makes one for it.
set -euo pipefail
url=${1:?URL of a scratch database}; schema=${2:?a schema of pg-boss\'s without jobs}; jobs=${3:-100000}; bytes=${4:-100}
batches=${5:-"200 1000"}; clients=${6:-"1 2 4"}
PATH=${PGBIN:+$PGBIN:}$PATH
# A plan for each call takes longer than the call.
export PGOPTIONS="${PGOPTIONS:-} -c plan_cache_mode=force_generic_plan"
q() { psql -qAtX -v ON_ERROR_STOP=1 "$url" "$@"; }
[ "$(q -c "select exists (select from \"$schema\".job)")" = f ] || { echo "there are jobs in the schema $schema" >&2; exit 1; }
jobs_at="\"$schema\".job_common"
tmp=$(mktemp -d); trap 'rm -rf "$tmp"; q -c "truncate $jobs_at" -c "delete from \"$schema\".queue where name = '\''raw_drain'\''"' EXIT
cat >"$tmp/drain.sql" <<SQL
with c as materialized (select ctid from $jobs_at where name = 'raw_drain' and state < 'active' and not blocked and start_after <= now()
                          order by priority desc, created_on limit :batch for update skip locked),
     u as (update $jobs_at j set state = 'active', started_on = now(), heartbeat_on = now(), retry_count = retry_count + (started_on is not null)::int
             where ctid = any (array(select ctid from c)) returning id, retry_count, data)
select coalesce(array_agg(id), '{}') ids, coalesce(array_agg(retry_count), '{}') tries, sum(length(data::text)) from u \gset
update $jobs_at j set state = 'completed', completed_on = now(), output = '{"ok": true}'
  from unnest(:ids::uuid[], :tries::int[]) s(id, tries)
  where j.name = 'raw_drain' and j.id = s.id and j.retry_count = s.tries and j.state is not distinct from 'active';
SQL
best=0; parts=()
q -c "select \"$schema\".create_queue('raw_drain', '{\"policy\": \"standard\"}')" >/dev/null
for batch in $batches; do
  sed "s/:batch/$batch/" "$tmp/drain.sql" >"$tmp/drain-$batch.sql"
  for c in $clients; do
    # Ids in the order of intake, as a time-ordered UUID has them: that is the cheapest for every index.
    q -c "truncate $jobs_at" \
      -c "insert into $jobs_at (id, name, policy, data, created_on, start_after, keep_until)
          select ('01900000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'raw_drain', 'standard',
                 jsonb_build_object('n', i, 'pad', repeat('x', greatest($bytes - 30, 0))), now() + i * interval '1 microsecond',
                 now(), now() + interval '14 days' from generate_series(1, $jobs) i" \
      -c "vacuum analyze $jobs_at" -c "checkpoint" >/dev/null
    tx=$((jobs / batch / c)); start=$(date +%s.%N)
    pgbench -n -M prepared -f "$tmp/drain-$batch.sql" -c "$c" -j "$c" -t "$tx" "$url" >"$tmp/out" 2>&1 || { cat "$tmp/out" >&2; exit 1; }
    end=$(date +%s.%N)
    done_n=$(q -c "select count(*) from $jobs_at where name = 'raw_drain' and state = 'completed'")
    [ "$done_n" -ge $((tx * c * batch * 9 / 10)) ] || { echo "only $done_n completed" >&2; exit 1; }
    rate=$(awk -v n="$done_n" -v s="$start" -v e="$end" 'BEGIN { printf "%d", n / (e - s) }')
    parts+=("\"$batch x $c\":$rate"); [ "$rate" -gt "$best" ] && best=$rate
  done
done
(IFS=,; echo "{\"bench\":\"pgboss-drain\",\"jobs\":$jobs,\"payload_bytes\":$bytes,\"jobs_per_s\":{${parts[*]}},\"best\":$best}")
