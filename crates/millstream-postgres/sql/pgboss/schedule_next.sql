-- When a schedule ticks next, when somebody last looked at all of them, whether one was never looked at, and whether
-- a tick waits to be sent on. Rides job_i11.
select min(b.next_at) as next_at, coalesce(bool_or(b.seen is distinct from s.cron || E'\n' || coalesce(s.timezone, 'UTC')), false) as unseen,
       (select v.cron_on from {boss}.version v) as looked, {boss}.job_now() as now,
       exists (
           select from {boss}.job_common j
           where j.name = '__pgboss__send-it' and j.state < 'active' and not j.blocked and j.start_after <= {boss}.job_now()
       ) as waits
from {boss}.schedule s left join lateral (
    select x.next_at, x.seen from {schema}.boss_schedule x
    where x.boss = '{name}' and x.queue = s.name and x.key = s.key offset 0
) b on true
