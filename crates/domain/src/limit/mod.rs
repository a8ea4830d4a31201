//! The limiter's rules: token bucket, strict sliding windows, quota, meter; debited together or not at all.
//!
//! This is the reference arithmetic. It knows no threads and no storage: a caller owns an
//! [`AccountState`], brings the time, and makes its calls one after another.

mod asked;
mod bucket;
mod counters;
mod quota;
mod reading;
mod seed;
mod spec;
mod standing;
mod state;
mod window;

pub use bucket::BucketState;
pub use quota::QuotaState;
pub use reading::{Answer, Reading, WindowReading};
pub use seed::{Debited, QuotaUse, Seed, Spending};
pub use spec::{Bucket, LimitSet, OutOfBounds, Quota, UNITS_MAX, WINDOWS_MAX, Window};
pub use standing::{LimitKind, LimitLabel, LimitStanding, STANDINGS_MAX, Standing};
pub use state::{AccountState, Admitted, Charged, Debit, Outcome, Refused};
pub use window::{SLICES, SLICES_MAX, Slice, WindowState};
