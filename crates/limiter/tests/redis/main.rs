//! The limiter in Redis, against servers of its own.

mod changes;
mod cluster;
mod concurrency;
mod failures;
mod leases;
mod meters;
mod private;
mod seeding;
mod size;
mod support;
mod traces;
