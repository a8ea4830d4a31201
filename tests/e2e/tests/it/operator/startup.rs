//! Starts that cannot be: each says why in one line and leaves with a non-zero status.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tollgate_e2e::{Backend, Printed, Profile, Setup, free_ports, run};

/// A configuration with this database, in this folder, and its outcome.
#[track_caller]
fn up(folder: &Path, database: &str) -> Printed {
    let [gateway, admin, metrics] = free_ports();
    let text = format!(
        "[gateway]\nlisten = \"{gateway}\"\n[admin]\nlisten = \"{admin}\"\ntoken = \"0123456789abcdef\"\n\
         [metrics]\nlisten = \"{metrics}\"\n[store]\ndatabase = \"{database}\"\n"
    );
    fs::write(folder.join("tollgate.toml"), text).expect("written");
    run(folder, &["up"], None)
}

#[track_caller]
fn fails(printed: &Printed, says: &[&str]) {
    assert_eq!(printed.code, Some(1), "{}", printed.stderr);
    assert_eq!(printed.stdout, "");
    let last = printed.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{}", printed.stderr);
    for text in says {
        assert!(last.contains(text), "no {text:?} in {last}");
    }
    assert!(!printed.stderr.contains("panicked"), "{}", printed.stderr);
}

#[test]
fn a_port_in_use_is_named_with_its_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    for taken in 0..3 {
        let addresses: [_; 3] = free_ports();
        let held = TcpListener::bind(addresses[taken]).expect("a free port");
        let [gateway, admin, metrics] = addresses;
        let text = format!(
            "[gateway]\nlisten = \"{gateway}\"\n[admin]\nlisten = \"{admin}\"\n[metrics]\nlisten = \"{metrics}\"\n"
        );
        fs::write(folder.path().join("tollgate.toml"), text).expect("written");
        let printed = run(folder.path(), &["up"], None);
        let setting = ["gateway.listen", "admin.listen", "metrics.listen"][taken];
        fails(&printed, &[&addresses[taken].to_string(), setting, "in use"]);
        drop(held);
    }
    assert!(!folder.path().join("tollgate.db").exists(), "nothing was made on the way");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "x").expect("written");
    // The kernel's own folder takes no file from anybody, root included.
    fails(&up(folder.path(), "sqlite:///proc/tollgate.db"), &["/proc/tollgate.db"]);
    fails(&up(folder.path(), "sqlite://file/tollgate.db"), &["file/tollgate.db", "not a folder"]);
    fails(&up(folder.path(), "sqlite://missing/tollgate.db"), &["missing", "does not exist"]);
    fs::create_dir(folder.path().join("tollgate.db")).expect("a folder");
    fails(&up(folder.path(), "sqlite://tollgate.db"), &["tollgate.db", "not a file"]);
}

#[test]
fn a_second_gate_on_the_same_database_is_refused() {
    let backend = Backend::start();
    let mut gate = Setup::new(&backend).start();
    let key = gate.key("ada@example.com", "pro");
    let other = tempfile::tempdir().expect("a folder");
    if Profile::current().has_database_file() {
        let database = format!("sqlite://{}", gate.folder().join("tollgate.db").display());
        let process = gate.process().id().to_string();
        fails(&up(other.path(), &database), &["tollgate.db", &process]);
    } else {
        // Whether the first has Redis or not: one without it counts by itself, and must not beside another.
        fails(&up(other.path(), &gate.stores().url()), &["another process"]);
    }
    gate.get("/events/1", &key).expect(200);
    gate.kill();
    gate.start_again();
    gate.get("/events/1", &key).expect(200);
}

#[test]
fn a_file_that_is_no_database_or_a_damaged_one_is_left_as_it_is() {
    if !Profile::current().has_database_file() {
        return;
    }
    let backend = Backend::start();
    let mut gate = Setup::new(&backend).start();
    gate.key("ada@example.com", "pro");
    gate.stop();
    let database = gate.folder().join("tollgate.db");
    let good = fs::read(&database).expect("a database");
    let mut damaged = good.clone();
    damaged[4_096..8_192].fill(0x5a);
    for (what, bytes, says) in [
        ("text", b"This is a letter to my mother, and no database at all.".to_vec(), "not an SQLite database"),
        ("damaged", damaged, "damaged"),
        ("cut", good[..good.len() / 2].to_vec(), "damaged"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tollgate.db");
        fs::write(&path, &bytes).expect("written");
        fails(&up(folder.path(), "sqlite://tollgate.db"), &[&path.display().to_string(), says]);
        assert_eq!(fs::read(&path).expect("still there"), bytes, "{what}: not a byte was changed");
    }
}

#[test]
fn a_database_of_a_newer_version_or_of_another_program_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tollgate.db");
    let newer = database(
        "_sqlx_migrations",
        "CREATE TABLE _sqlx_migrations (version BIGINT, description TEXT, success BOOLEAN, checksum BLOB)",
        // 9 999, a text, true, one byte.
        &[5, 2, 13 + 2 * 5, 9, 12 + 2, 0x27, 0x0f, b'l', b'a', b't', b'e', b'r', 0xff],
    );
    let foreign =
        database("recipes", "CREATE TABLE recipes (name TEXT)", &[2, 13 + 2 * 5, b'b', b'r', b'e', b'a', b'd']);
    for (bytes, says) in [(newer, "newer version"), (foreign, "another program")] {
        fs::write(&path, &bytes).expect("written");
        fails(&up(folder.path(), "sqlite://tollgate.db"), &["tollgate.db", says]);
        assert_eq!(fs::read(&path).expect("still there"), bytes, "not a byte was changed");
    }
}

const PAGE: usize = 512;

/// The smallest database of one table with one row, given as the bytes of its record (2.1 of `SQLite`'s file format).
fn database(table: &str, schema: &str, row: &[u8]) -> Vec<u8> {
    let serial = |text: &str| {
        let kind = 13 + 2 * text.len();
        let high = u8::try_from(kind >> 7).expect("a short text");
        let low = u8::try_from(kind & 0x7f).expect("seven bits");
        if high > 0 { vec![high | 0x80, low] } else { vec![low] }
    };
    // sqlite_master: type, name, tbl_name, rootpage, sql.
    let kinds = [serial("table"), serial(table), serial(table), vec![1], serial(schema)].concat();
    let mut master = vec![u8::try_from(kinds.len() + 1).expect("short")];
    master.extend(kinds);
    master.extend_from_slice(format!("table{table}{table}").as_bytes());
    master.push(2);
    master.extend_from_slice(schema.as_bytes());

    let mut bytes = vec![0; 2 * PAGE];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[16..18].copy_from_slice(&512_u16.to_be_bytes());
    bytes[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
    for (at, value) in [(24, 1_u32), (28, 2), (40, 1), (44, 4), (56, 1), (92, 1), (96, 3_045_000)] {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    leaf(&mut bytes[..PAGE], 100, &master);
    leaf(&mut bytes[PAGE..], 0, row);
    bytes
}

/// Makes a page a table's leaf with one row, its header at this offset.
fn leaf(page: &mut [u8], header: usize, record: &[u8]) {
    let mut cell = Vec::new();
    if record.len() > 0x7f {
        cell.push(u8::try_from(record.len() >> 7).expect("a short record") | 0x80);
    }
    cell.push(u8::try_from(record.len() & 0x7f).expect("seven bits"));
    cell.push(1);
    cell.extend_from_slice(record);
    let start = page.len() - cell.len();
    page[start..].copy_from_slice(&cell);
    let start = u16::try_from(start).expect("within a page").to_be_bytes();
    page[header..header + 8].copy_from_slice(&[0x0d, 0, 0, 0, 1, start[0], start[1], 0]);
    page[header + 8..header + 10].copy_from_slice(&start);
}
