//! What consumers of an API type, and what operators type about their accounts: as processes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_e2e::{Backend, Gate, Printed, Request, Setup, Side, closed_port, run, run_consumer};

use crate::support::named;

const POLICY: &str = r#"
[plans.free]
api = false
[plans.pro]
quota = "10/month"
meters = { tokens = "100/month" }
price = "29 USD/month"
[plans.team]
rank = 2
quota = "1_000/month"
features = ["llm"]
price = "99 USD/month"
[[routes]]
name = "reports"
path = "/reports/*"
min_plan = "team"
[[routes]]
name = "metered"
path = "/metered/*"
meter = "tokens"
cost = 5
"#;

fn start(backend: &Backend) -> Gate {
    Setup::new(backend).set("usage", "request_log = \"all\"").policy(POLICY).start()
}

/// A home in which nothing is kept yet.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn run(&self, arguments: &[&str]) -> Printed {
        run_consumer(self.0.path(), arguments, &[], None)
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Printed {
        run_consumer(self.0.path(), arguments, variables, None)
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path
    }

    fn credentials(&self) -> std::path::PathBuf {
        self.0.path().join(".config/tollgate/credentials.toml")
    }
}

fn url(gate: &Gate) -> String {
    format!("http://{}", gate.address())
}

#[test]
fn a_login_keeps_a_verified_key_for_its_owner_alone_and_other_entries_as_they_are() {
    let backend = Backend::start();
    let (one, other) = (start(&backend), start(&backend));
    let (key, second) = (one.key("ada@example.com", "pro"), other.key("ada@other.example", "team"));
    let home = Home::new();
    home.run(&["login", "--url", &url(&one), "--key", "tg_live_wrong"]).exits(1);
    home.run(&["login", "--url", &format!("http://{}", closed_port()), "--key", &key.raw]).exits(1);
    assert!(!home.credentials().exists(), "nothing that was not verified is kept");
    let typed = home.write("key", &format!("{}\n", key.raw));
    let printed = run_consumer(home.0.path(), &["login", "--url", &url(&one), "--json"], &[], Some(&typed)).done();
    assert_eq!(printed.json()["email"], "ada@example.com");
    assert!(!printed.stdout.contains(&key.raw) && !printed.stderr.contains(&key.raw));
    home.run(&["login", "--url", &format!("{}/tollgate", url(&other)), "--key", &second.raw]).done();
    let file = home.credentials();
    assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);

    let status = |arguments: &[&str]| home.run(&[&["status", "--json"], arguments].concat()).done().json();
    assert_eq!(status(&[])["email"], "ada@other.example", "the last that was logged in to");
    let first = status(&["--url", &url(&one)]);
    assert_eq!((&first["email"], &first["plan"]["name"]), (&json!("ada@example.com"), &json!("pro")), "{first:#}");
    let shown = home.run(&["status"]).done().stdout;
    assert!(shown.contains("ada@other.example") && shown.contains("llm") && shown.contains("1000"), "{shown}");
    let by_environment =
        home.run_with(&["status", "--json"], &[("TOLLGATE_API_KEY", &key.raw), ("TOLLGATE_API_URL", &url(&one))]);
    assert_eq!(by_environment.done().json()["email"], "ada@example.com", "the environment comes first");

    home.run(&["logout"]).done();
    assert!(!std::fs::read_to_string(&file).expect("the file").contains(&second.raw));
    assert_eq!(status(&["--url", &url(&one)])["email"], "ada@example.com", "the other entry stays");
    home.run(&["logout", "--all"]).done();
    home.run(&["status"]).exits(2);
    one.get("/", &key).expect(200);
}

#[test]
fn a_status_answers_whether_enough_is_left_for_what_comes_next() {
    let backend = Backend::start();
    let mut gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    let home = Home::new();
    home.run(&["login", "--url", &url(&gate), "--key", &key.raw]).done();
    let require = |meter: &str| home.run(&["status", "--require", meter]);
    require("tokens").done();
    require("calls").done();
    require("no_such_meter").exits(1).says("`tokens`");
    require("Not a meter").exits(2);
    let event = json!({ "id": "1", "account": key.account, "type": "tokens", "quantity": 100 });
    Side::Direct.ask(&gate, Request::json("POST", "/v1/usage", &event).bearer(&gate.token())).expect(200);
    require("tokens").exits(1).says("nothing is left of `tokens`");
    require("calls").done();
    for _ in 0..10 {
        gate.get("/", &key).expect(200);
    }
    require("calls").exits(1).says("nothing is left of `calls`");
    gate.cli(&["keys", "revoke", &key.id]).done();
    require("tokens").exits(1);
    gate.stop();
    require("tokens").exits(0).says("warning");
    home.run(&["status"]).exits(1);
}

/// What `explain` says, as JSON.
#[track_caller]
fn explained(gate: &Gate, id: &str) -> Value {
    gate.cli(&["explain", id, "--json"]).done().json()
}

#[test]
fn explain_says_why_a_key_or_a_request_is_allowed_or_refused() {
    let backend = Backend::start();
    let gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    let found = explained(&gate, &key.id);
    assert_eq!(
        (&found["verdict"], &found["account"]["email"]),
        (&json!("allowed"), &json!("ada@example.com")),
        "{found:#}"
    );
    let reports = named(&found["routes"], "route", "reports");
    assert_eq!((&reports["allowed"], &reports["code"]), (&json!(false), &json!("upgrade_required")), "{found:#}");

    let raw = gate.folder().join("raw");
    std::fs::write(&raw, &key.raw).expect("the file can be written");
    let printed = gate.cli_reading(&["explain", "-", "--json"], &raw).done();
    assert_eq!(printed.json()["key"]["id"], key.id);
    assert!(!printed.stdout.contains(&key.raw) && !gate.log().contains(&key.raw));
    let wrong = gate.cli(&["explain", &key.raw]).exits(2).says("standard input");
    assert!(!wrong.stderr.contains(&key.raw), "{}", wrong.stderr);
    assert!(!gate.log().contains(&key.raw), "not even where it was put in the wrong place");
    std::fs::write(&raw, "tg_live_typo").expect("the file can be written");
    assert_eq!(gate.cli_reading(&["explain", "-", "--json"], &raw).done().json()["reasons"][0]["reason"], "malformed");

    for _ in 0..10 {
        gate.get("/", &key).expect(200);
    }
    let refused = gate.get("/", &key).expect(429);
    gate.await_ledger();
    let request = refused.header("x-request-id").expect("a name").to_owned();
    let found = tollgate_e2e::eventually("the request is kept", || {
        let printed = gate.cli(&["explain", &request, "--json"]);
        (printed.code == Some(0)).then(|| printed.json())
    });
    assert_eq!((&found["request"]["status"], &found["request"]["reason"]), (&json!(429), &json!("quota")), "{found:#}");
    assert_eq!((&found["verdict"], &found["code"]), (&json!("refused"), &json!("quota_exceeded")), "{found:#}");
    let month = named(&found["limits"], "name", "month");
    assert_eq!((&month["used"], &month["limit"]), (&json!(10), &json!(10)), "{found:#}");

    for (command, reason) in [
        (vec!["accounts", "set-plan", "ada@example.com", "free"], "plan_without_api"),
        (vec!["accounts", "ban", "ada@example.com", "--reason", "abuse"], "account_banned"),
        (vec!["keys", "revoke", &key.id], "revoked"),
    ] {
        gate.cli(&command).done();
        let found = explained(&gate, &key.id);
        assert_eq!(
            (&found["verdict"], &found["reasons"][0]["reason"]),
            (&json!("refused"), &json!(reason)),
            "{found:#}"
        );
        assert!(gate.cli(&["explain", &key.id]).done().stdout.contains(reason), "{reason}");
    }
    gate.cli(&["explain", "key_0000000000000000000000"]).exits(1);
}

#[test]
fn a_credit_gives_calls_back_and_never_more_than_were_used() {
    let backend = Backend::start();
    let gate = start(&backend);
    let key = gate.key("ada@example.com", "pro");
    for _ in 0..10 {
        gate.get("/", &key).expect(200);
    }
    gate.get("/", &key).problem(429, "quota_exceeded");
    gate.await_ledger();
    let credit =
        |units: &str| gate.cli(&["accounts", "credit", "ada@example.com", units, "--reason", "outage", "--json"]);
    credit("11").exits(1).says("10 are used");
    let credited = credit("3").done().json();
    assert_eq!(
        (&credited["credited"], &credited["used_before"], &credited["used"]),
        (&json!(3), &json!(10), &json!(7))
    );
    let statuses: Vec<u16> = (0..4).map(|_| gate.get("/", &key).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    gate.await_ledger();
    gate.cli(&["accounts", "credit", "ada@example.com", "all"]).done().says("10 of calls given back");
    assert_eq!(gate.used("ada@example.com"), 0);
    gate.get("/", &key).expect(200);
    for wrong in [&["nobody@example.com", "1"][..], &["ada@example.com", "1", "--meter", "nothing"]] {
        gate.cli(&[&["accounts", "credit"], wrong].concat()).exits(1);
    }
}

/// A new file that differs from the gate's by these replacements.
fn changed(gate: &Gate, replacements: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(gate.config()).expect("the config is there");
    for (from, to) in replacements {
        assert!(text.contains(from), "no {from} in {text}");
        text = text.replace(from, to);
    }
    text
}

/// The accounts in one list of a comparison.
#[track_caller]
fn accounts_of(found: &Value, list: &str) -> Vec<String> {
    let accounts = found[list].as_array().unwrap_or_else(|| panic!("{found:#}"));
    let mut emails: Vec<String> =
        accounts.iter().filter_map(|account| account["email"].as_str().map(str::to_owned)).collect();
    emails.sort_unstable();
    emails
}

#[test]
fn a_plan_diff_names_exactly_the_accounts_that_a_gate_under_the_new_plans_refuses() {
    let backend = Backend::start();
    let gate = start(&backend);
    let replacements =
        [("quota = \"10/month\"", "quota = \"6/month\""), ("tokens = \"100/month\"", "tokens = \"20/month\"")];
    let text = changed(&gate, &replacements);
    let file = gate.folder().join("new.toml");
    std::fs::write(&file, text).expect("the file can be written");
    let under_new = Setup::new(&backend)
        .policy(replacements.iter().fold(POLICY.to_owned(), |text, (from, to)| text.replace(from, to)))
        .start();
    let users = [
        ("none", "pro", 0, 0),
        ("some", "pro", 3, 0),
        ("edge", "pro", 6, 0),
        ("over", "pro", 7, 0),
        ("most", "pro", 10, 0),
        ("metered", "pro", 0, 1),
        ("more-metered", "pro", 1, 1),
        ("team", "team", 40, 0),
    ];
    let mut refused = Vec::new();
    for (user, plan, calls, metered) in users {
        let email = format!("{user}@example.com");
        let keys = [gate.key(&email, plan), under_new.key(&email, plan)];
        let targets = (0..calls).map(|_| "/plain").chain((0..metered).map(|_| "/metered/1"));
        let mut is_refused = false;
        for target in targets {
            gate.get(target, &keys[0]).expect(200);
            is_refused |= under_new.get(target, &keys[1]).status == 429;
        }
        refused.extend(is_refused.then_some(email));
    }
    gate.await_ledger();
    refused.sort_unstable();
    assert_eq!(refused, ["most@example.com", "over@example.com"], "the simulation refuses somebody, and not everybody");
    let path = file.to_str().expect("temporary paths are text");
    let found = gate.cli(&["plan", "diff", path, "--json"]).done().json();
    assert_eq!(accounts_of(&found, "refused_more"), refused, "{found:#}");
    let same = gate.cli(&["plan", "diff", gate.config().to_str().expect("text"), "--json"]).done().json();
    assert_eq!(accounts_of(&same, "refused_more"), [""; 0], "the same plans change nothing: {same:#}");
    let shown = gate.cli(&["plan", "diff", path]).done().stdout;
    assert!(refused.iter().all(|email| shown.contains(email)) && !shown.contains("some@example.com"), "{shown}");
    std::fs::write(&file, "[plans.pro]\nquota = \"many\"\n").expect("the file can be written");
    gate.cli(&["plan", "diff", path]).exits(1).says("new.toml");
}

#[test]
fn usage_is_exported_in_rows_that_programs_read() {
    let backend = Backend::start();
    let gate = start(&backend);
    let (ada, eve) = (gate.key("ada@example.com", "pro"), gate.key("eve@example.com", "team"));
    for (key, times) in [(&ada, 3), (&eve, 5)] {
        for _ in 0..times {
            gate.get("/", key).expect(200);
        }
    }
    gate.await_ledger();
    let calls = |arguments: &[&str]| {
        let printed = gate.cli(&[&["usage", "export"], arguments].concat()).done();
        let rows = printed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        rows.map(|row| row["calls"].as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!([calls(&["--json"]), calls(&["--format", "jsonl"])], [8, 8]);
    assert_eq!(calls(&["--json", "--account", "eve@example.com"]), 5);
    assert_eq!(calls(&["--json", "--from", "2020-01-01", "--to", "2020-02-01"]), 0);
    let csv = gate.cli(&["usage", "export"]).done().stdout;
    let header = csv.lines().next().unwrap_or_default();
    for column in ["account", "hour", "meter", "key", "route", "status", "calls"] {
        assert!(header.split(',').any(|name| name == column), "no {column} in {header}");
    }
    gate.cli(&["usage", "export", "--account", "nobody@example.com"]).exits(1);
    gate.cli(&["usage", "export", "--from", "soon"]).exits(2);
}

/// A backend's document, with what drafts easily get wrong.
const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": { "title": "Weather", "version": "1" },
  "servers": [{ "url": "http://127.0.0.1:8501" }],
  "paths": {
    "/forecast/{city}": { "get": { "operationId": "forecast", "responses": {} }, "delete": { "responses": {} } },
    "/forecast/today": { "get": { "responses": {} } },
    "/health": { "get": { "responses": {} } },
    "/files/{a}-{b}": { "get": { "responses": {} } }
  }
}"#;

#[test]
fn a_first_configuration_is_drafted_from_a_document_and_is_good() {
    let home = Home::new();
    let backend = Backend::start();
    let document = home.write("openapi.json", DOCUMENT);
    let document = document.to_str().expect("temporary paths are text");
    let file = home.0.path().join("tollgate.toml");
    let out = file.to_str().expect("temporary paths are text");
    home.run(&["init", "--openapi", document, "--out", out]).done();
    home.run(&["init", "--openapi", document, "--out", out]).exits(1);
    home.run(&["check", out]).done();
    let by_file = std::fs::read_to_string(&file).expect("the file");
    assert!(by_file.contains("url = \"http://127.0.0.1:8501\""), "{by_file}");
    backend.on("/openapi.json", tollgate_e2e::Behaviour::status(200).bytes(DOCUMENT));
    let address = format!("http://{}/openapi.json", backend.address());
    let printed = home.run(&["init", "--openapi", &address]).done().stdout;
    assert_eq!(printed, by_file, "from an address as from a file");
    let gate = Setup::new(&backend).whole_file(by_file).start();
    gate.send(&Request::get("/forecast/oslo")).problem(401, "missing_key");
    home.run(&["init", "--openapi", "/nowhere.json"]).exits(1);
    let junk = home.write("junk.json", "{\"paths\": 7");
    home.run(&["init", "--openapi", junk.to_str().expect("text")]).exits(1);
}

#[test]
fn commands_that_need_an_operator_say_so_where_nothing_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tollgate.toml");
    std::fs::write(
        &config,
        format!("[admin]\nlisten = \"{}\"\ntoken = \"{}\"\n", closed_port(), "0123456789abcdef".repeat(2)),
    )
    .expect("the file can be written");
    let run_in = |arguments: &[&str]| {
        let config = config.to_str().expect("temporary paths are text");
        run(Path::new(folder.path()), &[&["--config", config], arguments].concat(), None)
    };
    for command in [
        &["explain", "key_0000000000000000000000"][..],
        &["usage", "export"],
        &["accounts", "credit", "ada@example.com", "1"],
        &["plan", "diff", "tollgate.toml"],
    ] {
        let printed = run_in(command).exits(1);
        assert!(
            printed.stderr.contains("nothing answers") || printed.stderr.contains("cannot be reached"),
            "{command:?}: {}",
            printed.stderr
        );
        assert_eq!(printed.stdout, "", "{command:?}");
    }
}
