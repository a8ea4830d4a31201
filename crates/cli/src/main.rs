//! `tollgate`: one binary. What is asked on the command line is read in [`args`] and done in [`commands`];
//! [`run`] composes the processes that serve.

mod args;
mod client;
mod commands;
mod consumer;
mod demo;
mod openapi;
mod output;
mod plan_diff;
mod run;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Huge pages: with a million keys remembered, much of a decision would go into finding out where their memory is. An
/// arena a processor, so that few pages are huge and half empty.
#[expect(unsafe_code, reason = "the allocator reads its options from the one symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 31] = b"thp:always,percpu_arena:percpu\0";

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    rustls::crypto::ring::default_provider().install_default().expect("nothing else has installed one");
    commands::dispatch(arguments)
}
