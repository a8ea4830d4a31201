//! The end-to-end suite: the built binary in front of a backend, each test with a gate of its own.
//!
//! Files are named by what they hold the program to. What a unit, a property or a store test shows is not repeated.

mod attacks;
mod billing;
mod consumer;
mod contract;
mod customers;
mod demo;
mod history;
mod jwt;
mod keys;
mod lifecycle;
mod limits;
mod meters;
mod notices;
mod operator;
mod proxy;
mod pyresolve;
mod releaseradar;
mod reload;
mod saas;
mod support;
mod weather;
