//! What the nodes of a fleet tell each other over Redis, off the path of a request.
//!
//! Here are: the cache of key records ([`CachedKeys`]), the stream of changes ([`Relay`] on the control plane's side,
//! [`ChangeReader`] on the gateway's), the stream of usage with its spool on disk ([`SpooledUsage`], [`UsageIngest`]),
//! the list of nodes ([`Registry`]) and the fleet's time ([`FleetClock`]). All of it goes on when Redis does not:
//! keys come from the store, changes wait in the outbox, usage waits in the spool. The shared limits themselves are
//! not here: a request waits for them, so they have connections of their own.

mod backoff;
mod batch;
mod cache;
mod change;
mod clock;
mod error;
mod ingest;
mod link;
mod names;
mod reader;
mod record;
mod registry;
mod relay;
mod spool;

pub use cache::{CacheSettings, CacheStats, CachedKeys};
pub use clock::FleetClock;
pub use error::FleetError;
pub use ingest::{IngestStats, UsageIngest};
pub use link::{FleetLink, LinkSettings, Topology};
pub use reader::{ChangeReader, ReaderStats};
pub use registry::{NodeFacts, NodeReport, Registry, Role};
pub use relay::{Charges, Relay, RelayStats};
pub use spool::{SpoolSettings, SpoolStats, SpooledUsage};
