//! A whole gateway over real sockets: what a caller is answered, what the backend gets to see, and what is counted.

mod meters;
mod mount;
mod outage;
mod requests;
mod support;
mod tokens;
