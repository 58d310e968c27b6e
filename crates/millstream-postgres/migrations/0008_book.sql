-- Claims that write no index. What says whether a job is ready or due is no longer its state but `delayed`, which a claim
-- leaves alone; so a claim is a heap-only update, where its page has room. And what a claim took is written into a book,
-- a row for each call, in place of an entry by lease for each job: the book is how jobs of a vanished worker are found.

-- Builds before this one claim by this sequence, and write no book: they end what they hold, and take nothing more.
drop sequence {schema}.claim_seq;
create sequence {schema}.claim_number;

-- The table is written anew. A page is filled so far that each of its rows can be claimed within it.
drop index {schema}.job_ready, {schema}.job_due, {schema}.job_lease;
alter table {schema}.job_live set (fillfactor = 42);
alter table {schema}.job_live add column delayed boolean not null generated always as (state = 'd') stored;
create index job_ready on {schema}.job_live (queue, priority, seq) where not delayed;
create index job_due on {schema}.job_live (run_at, seq) where delayed;

-- Which jobs a call claimed, until all of them are settled. A row that is past its time is looked at by the rescue: what
-- ran out is taken away, what is renewed stays booked until its next time.
create table {schema}.job_book (
    claim bigint not null,
    queue integer not null,
    until timestamptz not null,                    -- before that, no claim of it runs out
    jobs  bigint[] not null,
    primary key (claim, queue)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
alter table {schema}.job_book alter column jobs set storage external;
insert into {schema}.job_book (claim, queue, until, jobs)
select l.claim, l.queue, min(l.lease_until), array_agg(l.job) from {schema}.job_live l where l.state = 'a'
group by l.claim, l.queue;

-- One index of the history in place of two: by state, which is how it is listed. A job by its number is looked for in
-- each of the three states.
alter table {schema}.job_done drop constraint job_done_pkey;
drop index {schema}.job_done_state;
alter table {schema}.job_done add constraint job_done_pkey primary key (queue, state, job);
