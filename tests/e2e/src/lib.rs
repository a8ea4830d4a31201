//! The harness of the end-to-end suite: the built binary as a process, a backend to put it in front of, and a client
//! that writes requests byte for byte.
//!
//! Everything is blocking: a test reads as the story it tells. It knows the program by its outside alone, the command
//! line, the sockets and the files, and links nothing of it.

mod backend;
mod behaviour;
mod binary;
mod cli;
mod gate;
mod http;
mod metrics;
mod pattern;
pub mod policy;
mod ports;
mod process;
mod profile;
mod setup;
mod wait;

pub use backend::{Arrival, Backend};
pub use behaviour::Behaviour;
pub use binary::tollgate;
pub use cli::{Printed, run};
pub use gate::{Gate, Key};
pub use http::{Answer, Connection, Request, exchange};
pub use metrics::Metrics;
pub use pattern::Pattern;
pub use ports::{closed_port, free_ports};
pub use process::{Process, Stopped};
pub use profile::Profile;
pub use setup::Setup;
pub use wait::{PATIENCE, eventually, in_parallel};
