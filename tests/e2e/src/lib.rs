//! The harness of the end-to-end suite: the built binary as a process, a backend to put it in front of, and a client
//! that writes requests byte for byte.
//!
//! Everything is blocking: a test reads as the story it tells. It knows the program by its outside alone, the command
//! line, the sockets and the files, and links nothing of it.

mod answer;
mod backend;
mod behaviour;
mod binary;
mod cli;
mod clock;
mod customer;
mod fleet;
mod foreign;
mod gate;
mod http;
mod link;
mod load;
mod mailbox;
mod metrics;
mod pattern;
pub mod policy;
mod ports;
mod process;
mod profile;
pub mod scenario;
pub mod service;
mod setup;
mod stores;
mod stripe;
mod token;
mod unique;
mod wait;

pub use answer::Answer;
pub use backend::{Arrival, Backend};
pub use behaviour::Behaviour;
pub use binary::tollgate;
pub use cli::{Printed, run, run_consumer, run_within};
pub use clock::{epoch_secs, instant_of, now_secs};
pub use customer::{Customer, Side};
pub use fleet::{Fleet, Plan};
pub use foreign::{foreign_key, sha256};
pub use gate::{Gate, Key};
pub use http::{Connection, Request, exchange};
pub use link::Link;
pub use load::{Call, Next, calls_of};
pub use mailbox::{Mail, Mailbox};
pub use metrics::Metrics;
pub use pattern::Pattern;
pub use ports::{closed_port, free_ports};
pub use process::{Process, Stopped};
pub use profile::Profile;
pub use setup::{Role, Setup};
pub use stores::{Mode, Patience, Stores};
pub use stripe::{Payer, SELLING, Stripe};
pub use token::{Signer, tampered, unsigned};
pub use wait::{PATIENCE, eventually, eventually_within, in_parallel};
