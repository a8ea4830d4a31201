//! The outside contract of the gateway: statuses, words, codes, headers.

mod headers;
mod refusals;
mod unavailable;
mod unenforced;
