//! `check FILE`: every problem of a configuration file at once. It judges nothing itself; the configuration does.

use std::path::Path;

use tollgate_config::ProcessEnvironment;

use crate::commands::Failure;
use crate::output;

/// Checks the file. All of it is said on standard error: problems are messages, not data.
pub(crate) fn check(file: &Path) -> Result<(), Failure> {
    match tollgate_config::load(file, &ProcessEnvironment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::note(&warning.to_string());
            }
            output::note(&format!("{}: ok", file.display()));
            Ok(())
        }
        Err(diagnostics) => {
            output::note(&diagnostics.to_string());
            Err(Failure::Said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_is_done_and_any_other_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = folder.path().join("good.toml");
        std::fs::write(&good, "[plans.pro]\nrate = \"600/minute\"\n").expect("written");
        assert!(check(&good).is_ok());
        let bad = folder.path().join("bad.toml");
        std::fs::write(&bad, "[plans.pro]\nrate = \"600/fortnight\"\n").expect("written");
        for file in [&bad, &folder.path().join("missing.toml")] {
            assert!(matches!(check(file), Err(Failure::Said)), "{}", file.display());
        }
    }
}
