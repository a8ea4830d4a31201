//! `tollgate demo`: lines to paste, each ending in the status it gives.

use std::process::{Command, Stdio};
use std::time::Duration;

use tollgate_e2e::{Process, eventually, tollgate};

const LINES: usize = 6;

#[test]
fn every_line_that_the_demo_prints_gives_the_status_it_ends_in() {
    let throwaway = tempfile::tempdir().expect("a folder");
    let outputs = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(tollgate());
    command.arg("demo").env("TMPDIR", throwaway.path()).current_dir(outputs.path()).stdin(Stdio::null());
    let mut demo = Process::spawn(&mut command, outputs.path());
    let printed = eventually("all lines", || {
        assert!(demo.ended().is_none(), "{}", demo.stderr());
        let printed = demo.stdout();
        (printed.lines().count() >= LINES).then_some(printed)
    });
    let mut statuses = Vec::new();
    for line in printed.lines() {
        assert!(line.starts_with("curl "), "stdout carries the lines alone: {line}");
        let (_, promised) = line.rsplit_once(" # ").expect("a line ends in its status");
        let ran = Command::new("sh").args(["-c", line]).output().expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), promised, "{line}");
        statuses.push(promised.to_owned());
    }
    for status in ["200", "401", "402", "403", "429"] {
        assert!(statuses.iter().any(|known| known == status), "no line shows {status}");
    }
    let stopped = demo.stop("TERM", Duration::from_secs(15));
    assert_eq!(stopped.code, Some(0), "{}", demo.stderr());
    assert!(stopped.took < Duration::from_secs(2), "{:?}", stopped.took);
    let left: Vec<_> = throwaway.path().read_dir().expect("the folder").collect();
    assert!(left.is_empty(), "{left:?} is left behind");
}
