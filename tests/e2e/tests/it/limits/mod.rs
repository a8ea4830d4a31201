//! What the limits promise, at the gate's own port.

mod charges;
mod quota;
mod rate;
mod sharing;
