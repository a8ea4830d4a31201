//! The fleet against a real Redis that each test starts for itself, and breaks. Where no `redis-server` is installed
//! the tests say so and pass.

mod cache;
mod changes;
mod cluster;
mod nodes;
mod store;
mod support;
mod usage;
