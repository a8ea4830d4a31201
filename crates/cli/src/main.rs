//! `tollgate`: one binary. What is asked on the command line is read in [`args`] and done in [`commands`];
//! [`run`] composes the processes that serve.

mod args;
mod client;
mod commands;
mod demo;
mod output;
mod run;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    rustls::crypto::ring::default_provider().install_default().expect("nothing else has installed one");
    commands::dispatch(arguments)
}
