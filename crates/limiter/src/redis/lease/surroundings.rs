//! What leases need of the program around them: a clock that never goes back, and a place for work in the background.
//!
//! It is a trait so that a simulation can stand in for both; nothing here knows a lease.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Work that runs by itself.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock, a timer, and somewhere to run.
pub trait Surroundings: Send + Sync + 'static {
    /// Microseconds since some fixed moment, by a clock that never goes back and that nobody sets.
    fn monotonic_us(&self) -> i64;

    /// Lets work run by itself, beside the caller.
    fn spawn(&self, work: Work);

    /// Resolves when so many microseconds have passed.
    fn sleep(&self, micros: u64) -> Work;
}

/// The real ones: the machine's monotonic clock, and the runtime that this was made in.
#[derive(Debug)]
pub struct Tokio {
    started: Instant,
    runtime: Handle,
}

impl Tokio {
    /// Background work will run on this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self { started: Instant::now(), runtime }
    }
}

impl Surroundings for Tokio {
    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn spawn(&self, work: Work) {
        self.runtime.spawn(work);
    }

    fn sleep(&self, micros: u64) -> Work {
        Box::pin(tokio::time::sleep(Duration::from_micros(micros)))
    }
}
