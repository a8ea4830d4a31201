//! Opening: what is made, and what is refused in one line that names the file and what is wrong with it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tollgate_store::{SqliteStore, Store, StoreError};

use crate::{fill, folder, open, run};

/// The one line that refuses this file.
async fn refusal(path: &Path) -> String {
    let error = SqliteStore::open(path).await.expect_err("it is refused");
    let StoreError::Unusable(line) = error else { panic!("a person must act: {error:?}") };
    let name = path.file_name().expect("a name").to_str().expect("a readable name");
    assert!(line.contains(name), "{line} does not name {name}");
    assert!(!line.contains('\n'), "{line} is one line");
    line
}

async fn check_refused(path: &Path, says: &str) {
    let before = fs::read(path).ok();
    let line = refusal(path).await;
    assert!(line.contains(says), "{line} does not say `{says}`");
    assert_eq!(fs::read(path).ok(), before, "the file is left as it is");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_and_all_beside_it_are_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        let mode = fs::metadata(&name).unwrap_or_else(|error| panic!("{suffix}: {error}")).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_database() {
    let (_folder, path) = folder();
    File::create(&path).expect("an empty file");
    open(&path).await.ping().await.expect("it answers");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let (_folder, path) = folder();
    let path = path.with_file_name("nowhere").join("tollgate.db");
    check_refused(&path, "nowhere does not exist").await;
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_named() {
    let (_folder, path) = folder();
    fs::write(&path, "").expect("a file");
    check_refused(&path.join("tollgate.db"), "tollgate.db is not a folder").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_takes_no_files_is_refused() {
    check_refused(Path::new("/proc/tollgate.db"), "cannot lock /proc/tollgate.db.lock").await;
}

#[tokio::test]
async fn a_path_that_is_a_folder_is_refused() {
    let (folder, _) = folder();
    let path = folder.path().join("tollgate.db");
    fs::create_dir(&path).expect("a folder");
    assert!(refusal(&path).await.contains("it is not a file"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    for text in ["x", "[gateway]\nlisten = \"127.0.0.1:8080\"\n", "SQLite format 3, but not quite so"] {
        let (_folder, path) = folder();
        fs::write(&path, text).expect("a text file");
        check_refused(&path, "it is not an SQLite database").await;
    }
}

#[tokio::test]
async fn a_header_without_a_database_is_damaged() {
    let (_folder, path) = folder();
    fs::write(&path, b"SQLite format 3\0 and then nothing of the kind").expect("a file");
    check_refused(&path, "it is damaged").await;
}

#[tokio::test]
async fn another_programs_database_is_left_as_it_is() {
    let (_folder, path) = folder();
    run(&path, "CREATE TABLE songs (title TEXT)").await;
    check_refused(&path, "it belongs to another program").await;
}

#[tokio::test]
async fn a_database_from_a_newer_version_is_left_as_it_is() {
    let (_folder, path) = folder();
    open(&path).await.close().await;
    run(
        &path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    )
    .await;
    check_refused(&path, "a newer version of Tollgate made it (schema 9999)").await;
}

#[tokio::test]
async fn a_database_whose_schema_is_not_ours_is_left_as_it_is() {
    for change in ["checksum = x'00'", "success = FALSE"] {
        let (_folder, path) = folder();
        open(&path).await.close().await;
        run(&path, &format!("UPDATE _sqlx_migrations SET {change} WHERE version = 2")).await;
        check_refused(&path, "its schema 2 is not the one of this version").await;
    }
}

#[tokio::test]
async fn a_truncated_database_is_damaged() {
    let (_folder, path) = folder();
    open(&path).await.close().await;
    let length = fs::metadata(&path).expect("it is there").len();
    File::options().write(true).open(&path).expect("it opens").set_len(length / 2).expect("it is cut");
    check_refused(&path, "it is damaged").await;
}

#[tokio::test]
async fn overwritten_pages_are_found_at_the_start() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    fill(&store).await;
    store.close().await;
    drop(store);
    let length = fs::metadata(&path).expect("it is there").len();
    let mut file = File::options().write(true).open(&path).expect("it opens");
    file.seek(SeekFrom::Start(8_192)).expect("it is longer");
    let garbage = vec![0xa5; usize::try_from(length).expect("a small file") - 8_192];
    file.write_all(&garbage).expect("it is overwritten");
    drop(file);
    check_refused(&path, "it is damaged").await;
}

#[tokio::test]
async fn a_second_store_on_the_same_file_is_told_who_uses_it() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let process = format!("process {} uses it already", std::process::id());
    assert!(refusal(&path).await.contains(&process));
    #[cfg(unix)]
    {
        let other_name = path.with_file_name("other.db");
        std::os::unix::fs::symlink(&path, &other_name).expect("a link");
        let error = SqliteStore::open(&other_name).await.expect_err("it is the same file");
        assert!(error.to_string().contains(&process), "{error}");
    }
    store.ping().await.expect("the first goes on");
    drop(store);
    open(&path).await.ping().await.expect("the lock went with the store");
}

#[tokio::test]
async fn a_lock_without_a_readable_process_still_holds() {
    let (_folder, path) = folder();
    let lock = File::create(path.with_file_name("tollgate.db.lock")).expect("a file");
    lock.lock().expect("nobody else has it");
    assert!(refusal(&path).await.contains("another process uses it already"));
    assert!(!path.exists(), "nothing was made");
}
