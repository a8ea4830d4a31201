//! The guard and the listener over real sockets: what a client sends byte for byte, and what an
//! upstream gets to see of it.

mod connections;
mod drain;
mod framing;
mod heads;
mod support;
