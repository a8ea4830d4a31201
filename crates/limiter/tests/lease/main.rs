//! Leases between nodes and whoever keeps the shared count, in a simulated world: no limit is ever exceeded, little is
//! ever refused that could be admitted, and nothing is lost.

mod answers;
mod arbiter;
mod behaviour;
mod bounds;
mod fleet;
mod judge;
#[path = "../redis/private.rs"]
#[expect(dead_code, reason = "these tests only start servers; others do more with them")]
mod private;
mod redis;
mod reference;
mod refusals;
mod storms;
mod support;
mod world;
