//! `up`, `gateway` and `admin`: the long-running commands. How the planes are built and stopped is the
//! composition's business.

use std::path::Path;

use anyhow::anyhow;

use crate::commands::Failure;
use crate::run;

/// Serves until told to stop.
pub(crate) fn up(config: Option<&Path>) -> Result<(), Failure> {
    let loaded = run::load_config(config)?;
    let running = run::start(loaded)?;
    Ok(running.until_stopped()?)
}

/// One plane alone needs what both share, and that is not in this version.
pub(crate) fn one_plane(plane: &str) -> Result<(), Failure> {
    Err(anyhow!(
        "`tollgate {plane}` runs one process of a fleet, which shares a PostgreSQL database and Redis: it needs both URLs \
         in [store], and they come with a later version; use `tollgate up`, which runs gateway and admin in one process"
    )
    .into())
}
