//! The limits the guard keeps on every connection. Checked values only: the configuration has
//! read and judged them.

use std::time::Duration;

use super::pace::MinimumRate;

/// The limits of one connection. All timeouts are per read or write; none bounds a whole transfer.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// How long a whole head may take, from its first byte.
    pub header_timeout: Duration,
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
    /// How long a connection may rest before a request's first byte.
    pub keepalive_timeout: Duration,
    /// How long the next bytes of a body may take.
    pub body_read_timeout: Duration,
    /// How long the client may take none of the bytes it is sent.
    pub write_timeout: Duration,
    /// The least a client must send of a body, and take of an answer.
    pub minimum_rate: MinimumRate,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 64 * 1024,
            keepalive_timeout: Duration::from_secs(75),
            body_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            minimum_rate: MinimumRate { bytes_per_second: 32, grace: Duration::from_mins(1) },
        }
    }
}
