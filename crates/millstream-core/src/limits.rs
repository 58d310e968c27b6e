//! Every bound of the engine, with its reason. A value over a bound is refused by name, never cut.

use std::time::Duration;

/// Bytes of a queue name: what pg-boss and BullMQ both accept.
pub const QUEUE_NAME_BYTES_MAX: usize = 255;
/// Bytes of a job name; the same bound as a queue's, because a job without a name goes by its queue's.
pub const JOB_NAME_BYTES_MAX: usize = 255;
/// Bytes of a job id: it is an index key in every store.
pub const JOB_ID_BYTES_MAX: usize = 255;
/// Bytes of the id of a job's group: pg-boss's tables have it in an index.
pub const JOB_GROUP_BYTES_MAX: usize = 255;
/// Bytes of a stream name: it is an index key in every store.
pub const STREAM_NAME_BYTES_MAX: usize = 255;
/// Bytes of the name of a consumer group, or of a consumer: both are index keys.
pub const GROUP_NAME_BYTES_MAX: usize = 255;
/// Bytes of an idempotency key, a state key, or a schedule key.
pub const KEY_BYTES_MAX: usize = 512;
/// Bytes of one payload (job data, output, event data, state value) as JSON text. Larger bodies belong
/// in an object store with a reference in the job: every claim carries the whole payload over the wire.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lists and objects inside each other in one payload. JSON's readers stop somewhere (ours at 128), and a payload also
/// travels inside other documents: what could be written and never read again must not be taken in.
pub const PAYLOAD_DEPTH_MAX: usize = 100;
/// Bytes of an error that is kept with a job; longer ones keep their beginning and say so.
pub const ERROR_BYTES_MAX: usize = 16 * 1024;
/// Jobs in one call of `enqueue`: bounds how long one caller holds a writer.
pub const ENQUEUE_BATCH_MAX: usize = 10_000;
/// Events in one call of `append`, over all its streams.
pub const APPEND_BATCH_MAX: usize = 10_000;
/// Jobs that one `claim` may take: larger batches no longer gain speed, and lengthen a crash's tail.
pub const CLAIM_BATCH_MAX: u32 = 1_000;
/// Settlements that travel in one commit: a group commit that grows further only delays its first member.
pub const SETTLE_BATCH_MAX: usize = 1_000;
/// Rows of one page of a listing.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Rows of a page where the caller names no limit.
pub const PAGE_ROWS_DEFAULT: u32 = 100;
/// Effects (events, jobs, state operations, run rows) of one settlement.
pub const EFFECTS_MAX: usize = 10_000;
/// Attempts of one job: a retry policy above it is a bug in the caller.
pub const ATTEMPTS_MAX: u32 = 10_000;
/// Jobs that one consumer runs at once.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// Ticks that one catch-up of a schedule may make up for: a schedule that slept for a year must not flood a queue.
pub const SCHEDULE_CATCH_UP_MAX: u32 = 1_000;
/// Longest delay, backoff or time to live: past it, arithmetic on timestamps could leave the calendar.
pub const DELAY_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Queue events buffered for one watcher; a watcher that is slower loses the oldest (it is a hint for people).
pub const WATCH_BUFFER: usize = 1_024;
/// Events buffered ahead of one subscriber: it reads more only when it has room.
pub const SUBSCRIBE_BUFFER: usize = 256;
/// Calls of a bus that wait for their turn; who calls beyond that waits outside.
pub const BUS_CALLS: usize = 256;
/// Events that one read of a group's partitions answers.
pub const GROUP_READ_MAX: u32 = 2_000;
/// Positions that one read of a group's partitions looks at: bounds what a rare pattern or a partition far behind costs
/// at once. The next read goes on from there.
pub const GROUP_SCAN_MAX: u64 = 50_000;
/// How long an idempotency key is kept: past any retry policy that a person would write.
pub const KEY_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
