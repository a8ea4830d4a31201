//! The signals that stop the process, and the one that reloads its configuration.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The status of a process that a second signal ended, as shells know it from SIGINT.
const INTERRUPTED: i32 = 130;

/// SIGTERM and SIGINT, heard from the moment this is made: one that comes while the process still starts is obeyed
/// as soon as it has.
pub(crate) struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    /// Listens. Must be called on a runtime.
    ///
    /// # Errors
    /// The system gives no signals.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// Ends the process at the next of them, whatever is in flight.
    pub(crate) async fn exit_on_next(mut self) {
        self.next().await;
        tracing::warn!("a second signal: exiting now");
        // Long enough for the line above to be written.
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::process::exit(INTERRUPTED);
    }
}

/// SIGHUP, each time it comes.
///
/// # Errors
/// The system gives no signals.
pub(crate) fn reload_requests() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
