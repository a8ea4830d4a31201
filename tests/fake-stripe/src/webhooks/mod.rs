//! Telling others: events made from changes, signatures, deliveries.

pub(crate) mod deliver;
pub(crate) mod emit;
pub(crate) mod sign;
