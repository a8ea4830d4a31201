//! The limiter behind one trait. The arithmetic is the domain's; what stands here is where the state lives
//! and how many threads share it.

mod in_process;
mod limiter;
mod peek;

pub use in_process::{Handle, InProcess, InProcessSettings};
pub use limiter::{Limiter, LimiterDown, SavedSubject, Subject};
pub use peek::{Peek, Peeked};
