//! `check`, and which file is read.

use std::fs;
use std::process::Command;

use tollgate_e2e::{run, tollgate};

const FIVE_MISTAKES: &str = r#"[gateway]
lisen = "127.0.0.1:8080"
[plans.pro]
rate = "600/fortnight"
stripe_prices = ["price_1"]
[plans.team]
burst = 0
rate = "60/minute"
stripe_prices = ["price_1"]
[[routes]]
path = "/reports/*"
min_plan = "gold"
"#;

#[test]
fn five_mistakes_are_five_lines_each_with_file_line_and_column() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bad.toml"), FIVE_MISTAKES).expect("written");
    let printed = run(folder.path(), &["check", "bad.toml"], None).exits(1);
    assert_eq!(printed.stdout, "");
    let places: Vec<(u32, u32)> = printed
        .stderr
        .lines()
        .filter_map(|line| {
            let mut numbers = line.strip_prefix("bad.toml:")?.splitn(3, ':');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
        .collect();
    assert_eq!(places, [(2, 1), (4, 8), (7, 9), (9, 18), (12, 12)], "{}", printed.stderr);
    run(folder.path(), &["--config", "bad.toml", "up"], None).exits(1).says("bad.toml:2:1:");
    run(folder.path(), &["check", "missing.toml"], None).exits(1).says("missing.toml");
    run(folder.path(), &["check"], None).exits(2);
}

#[test]
fn a_good_file_and_every_example_pass() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let folder = tempfile::tempdir().expect("a folder");
    let examples = fs::read_dir(format!("{root}/examples")).expect("there are examples");
    let examples = examples.map(|entry| entry.expect("an entry").path());
    for file in examples.chain([format!("{root}/tollgate.toml").into()]) {
        let text = fs::read_to_string(&file).expect("an example");
        // Their variables hold nothing but opaque secrets.
        let variables = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
        let variables = variables.map(|name| (name, "0123456789abcdef0123456789abcdef"));
        let mut check = Command::new(tollgate());
        let printed = check.arg("check").arg(&file).envs(variables).current_dir(folder.path()).output();
        let printed = printed.expect("the program runs");
        let said = String::from_utf8_lossy(&printed.stderr).into_owned();
        assert_eq!((printed.status.code(), printed.stdout.len()), (Some(0), 0), "{said}");
        assert!(said.trim_end().ends_with(": ok"), "{said}");
    }
}

#[test]
fn the_file_is_the_named_one_else_the_one_in_this_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tollgate.toml"), "[admin]\nlisten = \"127.0.0.1:1\"\ntoken = \"0123456789abcdef\"\n")
        .expect("written");
    fs::write(folder.path().join("named.toml"), "[admin]\nlisten = \"127.0.0.1:2\"\ntoken = \"0123456789abcdef\"\n")
        .expect("written");
    run(folder.path(), &["keys", "list"], None).exits(1).says("127.0.0.1:1");
    run(folder.path(), &["--config", "named.toml", "keys", "list"], None).exits(1).says("127.0.0.1:2");
    run(folder.path(), &["keys", "list", "--config", "named.toml"], None).exits(1).says("127.0.0.1:2");
    run(folder.path(), &["--config", "gone.toml", "keys", "list"], None).exits(1).says("gone.toml");
}
