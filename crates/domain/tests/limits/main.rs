//! What the limiter promises, on random traces, judged from the recorded admissions alone.
//!
//! The judges in [`judge`] add up what was admitted; they share no code with the arithmetic they judge. Each module
//! holds one promise. What is not here: threads and storage, which are the limiters' own to test.

mod bounds;
mod bucket;
mod changes;
mod clock;
mod judge;
mod meters;
mod quota;
mod restart;
mod together;
mod trace;
mod windows;
