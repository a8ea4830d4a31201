//! The operator's side: commands end to end, imports, and starts that cannot be.

mod accounts;
mod api;
mod check;
mod import;
mod startup;
