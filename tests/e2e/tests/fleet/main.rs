//! The fleet's promises: several processes on `PostgreSQL` and Redis, each test with stores of its own.
//!
//! Files are named by what they hold the program to. `tests/run` starts the services that they need; where there are none,
//! each test says so and passes. What is put to the test is in the harness, `tollgate_e2e::scenario`; here are the bounds.

mod faults;
mod limits;
mod migration;
mod observation;
mod payment;
mod revocation;
