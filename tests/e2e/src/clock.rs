//! The time that the program under test lives in: the machine's.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
///
/// # Panics
/// When the machine's clock stands before 1970.
pub fn now_secs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a process that is started asks the machine, and so does its test")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
