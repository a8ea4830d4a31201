//! The limiter behind one trait. The arithmetic is the domain's; what stands here is where the state lives
//! and how many threads share it.

mod in_process;
mod limiter;
mod peek;
mod prefetch;
mod redis;

pub use self::redis::{
    InvalidSettings, Mode, RedisHandle, RedisLimiter, RedisSettings, TIMEOUT_DEFAULT, Topology, lease, protocol,
};
pub use in_process::{Handle, InProcess, InProcessSettings};
pub use limiter::{Health, Limiter, LimiterDown, SavedSubject, Subject};
pub use peek::{Peek, Peeked};
pub use prefetch::{Ahead, prefetch};
