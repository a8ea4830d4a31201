//! The in-process limiter from outside: many threads, bounds, forgetting, saving, and agreement with the model.
//!
//! What the arithmetic promises is the domain's to test.

mod clients;
mod concurrency;
mod model;
mod saved;
mod seeding;
mod support;
mod sweep;
