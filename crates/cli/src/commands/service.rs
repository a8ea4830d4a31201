//! `up`, `gateway` and `admin`: the long-running commands. How the planes are built and stopped is the
//! composition's business.

use std::path::Path;

use crate::commands::Failure;
use crate::run::{self, Role};

/// Serves until told to stop.
pub(crate) fn serve(role: Role, config: Option<&Path>) -> Result<(), Failure> {
    let loaded = run::load_config(config)?;
    let running = run::start(loaded, role)?;
    Ok(running.until_stopped()?)
}
