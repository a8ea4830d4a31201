//! How a running process is reached, read from a file that is wrong elsewhere.

use tollgate_config::{AdminToken, Database, load_admin_access};

fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.toml");
    std::fs::write(&path, text).expect("a file");
    (folder, path)
}

#[test]
fn mistakes_and_unset_variables_elsewhere_do_not_matter() {
    let text = "[admin]\nlisten = \"127.0.0.1:9\"\n[store]\ndatabase = \"sqlite://x.db\"\n[keys]\npepper = \"${NOT_SET}\"\n\
                [plans.pro]\nrate = \"soon\"\n[[routes]]\npath = = \"/a\"\n";
    let (folder, path) = written(text);
    let access = load_admin_access(&path, &|_: &str| None).expect("the two sections are right");
    assert_eq!(access.admin.listen.port(), 9);
    assert_eq!(access.admin.token, AdminToken::KeptBesideStore);
    assert_eq!(access.store.database, Database::Sqlite { path: folder.path().join("x.db") });
}

#[test]
fn a_mistake_in_the_sections_that_are_read_is_told() {
    let (_folder, path) = written("[admin]\nlisten = \"nowhere\"\n");
    let problems = load_admin_access(&path, &|_: &str| None).expect_err("no address").to_string();
    assert!(problems.contains("tollgate.toml:2:"), "{problems}");
}
