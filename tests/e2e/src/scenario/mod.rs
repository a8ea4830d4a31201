//! What a fleet is put through, and what came of it, as figures: the tests hold them to bounds, `examples/shows.rs` prints
//! them. Nothing here judges.

mod acknowledged;
mod bucket;
mod fault;
mod latency;
mod migration;
mod payment;
mod quota;
mod revocation;
mod storm;

pub use acknowledged::acknowledged;
pub use bucket::{Bucket, BucketOutcome, bucket};
pub use fault::{Fault, FaultOutcome, KillOutcome, node_killed, under_load};
pub use latency::{Commands, Latency, commands, latencies};
pub use migration::{MigrationOutcome, migration};
pub use payment::{LapseOutcome, lapses};
pub use quota::{QuotaOutcome, quota};
pub use revocation::{CutOutcome, cut_stream, revocations};
pub use storm::{Storm, StormOutcome, storm};
