//! The proxy: bodies in both directions, paths, browsers, and what is served under the mount.

mod bodies;
mod cors;
mod failures;
mod mount;
mod paths;
mod streaming;
