//! Which tokens are believed, and how an issuer's keys are kept.

mod altered;
mod claims;
mod fixture;
mod refused;
mod rotation;
mod trouble;
