//! The end-to-end suite: the built binary in front of a backend, each test with a gate of its own.
//!
//! Files are named by what they hold the program to. What a unit, a property or a store test shows is not repeated.

mod attacks;
mod contract;
mod demo;
mod keys;
mod lifecycle;
mod limits;
mod operator;
mod proxy;
mod releaseradar;
mod reload;
mod support;
