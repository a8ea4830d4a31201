//! Finds the program under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the binary; absent means the one that was built beside this test.
const VARIABLE: &str = "TOLLGATE_BINARY";

/// The built `tollgate`: what the environment names, else the one in the folder this test was built into, which is
/// built now where it is missing.
///
/// # Panics
/// When there is none and it cannot be built.
pub fn tollgate() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = env::var_os(VARIABLE) {
            let named = PathBuf::from(named);
            assert!(named.is_file(), "{VARIABLE} names {}, which is no file", named.display());
            return named;
        }
        let test = env::current_exe().expect("a test knows its own path");
        // target/<profile>/deps/<test>
        let folder = test.parent().and_then(Path::parent).expect("a test lies two folders deep");
        let binary = folder.join("tollgate");
        if !binary.is_file() {
            build(folder);
        }
        assert!(binary.is_file(), "there is no {}: build it, or name it in {VARIABLE}", binary.display());
        binary
    })
}

/// Builds the workspace's binaries, so that no dependency gets other features than it has.
fn build(profile_folder: &Path) {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_folder.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = profile_folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "`cargo build --workspace --bins` failed");
}
