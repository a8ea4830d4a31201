//! The signals that stop the process, and the one that reloads its configuration.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The status of a process that a second signal ended, as shells know it from SIGINT.
const INTERRUPTED: i32 = 130;

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The system gives no signals.
pub(crate) async fn stop_requested() -> std::io::Result<()> {
    let (mut term, mut int) = both()?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// Ends the process at the next SIGTERM or SIGINT, whatever is in flight.
#[expect(clippy::exit, reason = "whoever asks twice does not want to wait")]
pub(crate) async fn exit_on_second() {
    let Ok((mut term, mut int)) = both() else { return };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::warn!("a second signal: exiting now");
    // Long enough for the line above to be written.
    tokio::time::sleep(Duration::from_millis(10)).await;
    std::process::exit(INTERRUPTED);
}

/// SIGHUP, each time it comes.
///
/// # Errors
/// The system gives no signals.
pub(crate) fn reload_requests() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

fn both() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}
