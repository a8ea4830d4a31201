//! What was used, looked back at: every way of summing it up gives what the load made and what the ledger has.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_e2e::{Backend, Behaviour, Gate, Key, Request, Setup, Side, in_parallel};

const POLICY: &str = r#"
[plans.pro]
rate = "unlimited"
quota = "1_000_000/month"
meters = { tokens = "1_000_000/month", scans = "unlimited" }
[[routes]]
name = "cheap"
path = "/cheap/*"
[[routes]]
name = "dear"
path = "/dear/*"
cost = 5
[[routes]]
name = "metered"
path = "/metered/*"
cost = 3
meter = "tokens"
"#;
/// Calls of each kind that each of the clients makes.
const ROUNDS: u64 = 12;
const CLIENTS: usize = 6;

/// Calls, units left and units given back.
type Sums = (u64, u64, u64);
/// What was used of a meter (`calls` is one), by what it is told apart by.
type Counted = BTreeMap<(String, String), Sums>;

struct Scene {
    gate: Gate,
    keys: [Key; 2],
    /// Meter, key, route, status class.
    made: BTreeMap<[String; 4], Sums>,
    _backend: Backend,
}

/// A load of every kind of call and event, and what it made.
fn scene() -> Scene {
    let backend = Backend::start();
    for route in ["cheap", "dear", "metered"] {
        for (status, class) in [(200, "2xx"), (404, "4xx"), (503, "5xx")] {
            backend.on(&format!("/{route}/{class}"), Behaviour::status(status));
        }
    }
    backend.on("/metered/reported", Behaviour::status(200).header("Tollgate-Usage", "tokens=70, scans=2"));
    let gate = Setup::new(&backend).policy(POLICY).start();
    let keys = [gate.key("ada@example.com", "pro"), gate.key("ada@example.com", "pro")];
    let stranger = gate.key("eve@example.com", "pro");
    let targets: Vec<(&str, &str, u64)> = [("cheap", 1), ("dear", 5), ("metered", 3)]
        .into_iter()
        .flat_map(|(route, cost)| ["2xx", "4xx", "5xx"].map(|class| (route, class, cost)))
        .collect();
    in_parallel(CLIENTS, |client| {
        let mut connection = gate.connect();
        for _ in 0..ROUNDS {
            for (route, class, _) in &targets {
                let request = Request::get(&format!("/{route}/{class}"));
                connection.send(&request.key(&keys[client % 2].raw)).expect("an answer");
            }
            connection.send(&Request::get("/metered/reported").key(&keys[client % 2].raw)).expect("an answer");
            connection.send(&Request::get("/cheap/2xx").key(&stranger.raw)).expect("an answer");
            connection.send(&Request::get("/cheap/2xx").key("wrong")).expect("an answer");
        }
    });
    let mut made: BTreeMap<[String; 4], Sums> = BTreeMap::new();
    let mut add = |meter: &str, key: &str, route: &str, class: &str, calls: u64, units: u64, refunded: u64| {
        let sums = made.entry([meter, key, route, class].map(str::to_owned)).or_default();
        *sums = (sums.0 + calls, sums.1 + units, sums.2 + refunded);
    };
    let calls = ROUNDS * u64::try_from(CLIENTS / 2).expect("a small number");
    for key in &keys {
        for (route, class, cost) in &targets {
            let (units, refunded) = if *class == "5xx" { (0, calls * cost) } else { (calls * cost, 0) };
            add("calls", &key.id, route, class, calls, units, refunded);
            if *route == "metered" {
                add("tokens", &key.id, route, class, calls, units, refunded);
            }
        }
        add("calls", &key.id, "metered", "2xx", calls, calls * 3, 0);
        add("tokens", &key.id, "metered", "2xx", calls, calls * 70, 0);
        add("scans", &key.id, "metered", "2xx", calls, calls * 2, 0);
    }
    for (id, key, tier, units) in [("a", Some(0), "1", 4), ("b", Some(1), "2", 5), ("c", None, "2", 6)] {
        let key: Option<&Key> = key.map(|index: usize| &keys[index]);
        let event = json!({
            "id": id, "account": "ada@example.com", "key": key.map(|key| key.id.clone()),
            "type": "tokens", "quantity": units, "dimensions": { "tier": tier, "library": "django" },
        });
        let request = Request::json("POST", "/v1/usage", &event).bearer(&gate.token());
        Side::Direct.ask(&gate, request).expect(200);
        add("tokens", key.map_or("", |key| &key.id), "", "", 1, units, 0);
    }
    gate.await_ledger();
    Scene { gate, keys, made, _backend: backend }
}

impl Scene {
    fn ask(&self, query: &str) -> Value {
        self.gate.get(&format!("/tollgate/v1/usage?{query}"), &self.keys[0]).expect(200).json()
    }

    /// What the load made, told apart by one of its four columns beside the meter.
    fn made_by(&self, column: Option<usize>, only: impl Fn(&[String; 4]) -> bool) -> Counted {
        let mut sums = Counted::new();
        for (kind, made) in self.made.iter().filter(|(kind, _)| only(kind)) {
            let group = column.map_or_else(String::new, |column| kind[column].clone());
            let sum = sums.entry((kind[0].clone(), group)).or_default();
            *sum = (sum.0 + made.0, sum.1 + made.1, sum.2 + made.2);
        }
        sums
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no {field} in {value:#}"))
}

/// The rows of a history, their steps put together.
fn summed(history: &Value) -> Counted {
    let mut sums = Counted::new();
    for row in history["rows"].as_array().unwrap_or_else(|| panic!("{history:#}")) {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let sum = sums.entry((text("meter"), text("group"))).or_default();
        let more = (number(row, "calls"), number(row, "units"), number(row, "units_refunded"));
        *sum = (sum.0 + more.0, sum.1 + more.1, sum.2 + more.2);
    }
    sums
}

#[test]
fn every_grouping_and_step_sums_up_to_what_the_load_made() {
    let scene = scene();
    for step in ["hour", "day", "month"] {
        for (group, column) in [
            ("", None),
            ("&group_by=meter", None),
            ("&group_by=route", Some(2)),
            ("&group_by=key", Some(1)),
            ("&group_by=status", Some(3)),
        ] {
            let history = scene.ask(&format!("step={step}{group}"));
            let made = scene.made_by(column, |_| true);
            assert_eq!(summed(&history), made, "{step}{group}: {history:#}");
            for (meter, total) in history["totals"].as_object().expect("totals") {
                let whole = scene.made_by(None, |kind| kind[0] == *meter);
                let sums = whole[&(meter.clone(), String::new())];
                assert_eq!(
                    (number(total, "calls"), number(total, "units"), number(total, "units_refunded")),
                    sums,
                    "{meter}"
                );
            }
        }
    }
    for (filter, column, value) in [
        ("meter=calls", 0, "calls"),
        ("meter=tokens", 0, "tokens"),
        ("route=dear", 2, "dear"),
        (&*format!("key={}", scene.keys[1].id), 1, &*scene.keys[1].id),
    ] {
        let history = scene.ask(&format!("step=day&{filter}"));
        assert_eq!(summed(&history), scene.made_by(None, |kind| kind[column] == value), "{filter}: {history:#}");
    }
    let empty = scene.ask("step=day&from=2020-01-01&to=2020-01-05");
    assert_eq!((summed(&empty), number(&empty["totals"]["calls"], "units")), (Counted::new(), 0));
}

#[test]
fn dimensions_group_and_filter_reported_events() {
    let scene = scene();
    let by = |query: &str| {
        let history = scene.ask(&format!("step=day&{query}"));
        summed(&history).into_iter().map(|((_, group), (calls, units, _))| (group, calls, units)).collect::<Vec<_>>()
    };
    let text = str::to_owned;
    assert_eq!(
        by("meter=tokens&group_by=dimension:tier&dimension.library=django"),
        [(text("1"), 1, 4), (text("2"), 2, 11)]
    );
    assert_eq!(by("dimension.tier=2"), [(text(""), 2, 11)]);
    assert_eq!(
        by(&format!("dimension.tier=2&group_by=key&key={}", scene.keys[1].id)),
        [(scene.keys[1].id.clone(), 1, 5)]
    );
    assert_eq!(by("dimension.tier=3"), []);
}

#[test]
fn history_export_ledger_and_quota_agree() {
    let scene = scene();
    let units = |meter: &str| scene.made_by(None, |kind| kind[0] == meter)[&(meter.to_owned(), String::new())].1;
    assert_eq!(scene.gate.used("ada@example.com"), units("calls"));
    let quota = scene.gate.get("/tollgate/v1/quota", &scene.keys[0]).expect(200).json();
    for meter in ["tokens", "scans"] {
        assert_eq!(number(&quota["meters"][meter], "used"), units(meter), "{quota:#}");
    }
    let account = &scene.keys[0].account;
    let operators = scene.gate.operator(&format!("/admin/v1/accounts/{account}/usage?step=day")).expect(200).json();
    assert_eq!(operators["totals"], scene.ask("step=day")["totals"]);

    let mut lines: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    let mut target = format!("/admin/v1/accounts/{account}/lines?limit=7");
    loop {
        let page = scene.gate.operator(&target).expect(200).json();
        for line in page["items"].as_array().unwrap_or_else(|| panic!("{page:#}")) {
            let sum = lines.entry(line["meter"].as_str().expect("a meter").to_owned()).or_default();
            *sum = (sum.0 + number(line, "calls"), sum.1 + line["units"].as_i64().expect("units"));
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => target = format!("/admin/v1/accounts/{account}/lines?limit=7&cursor={cursor}"),
            None => break,
        }
    }
    for (meter, (calls, left)) in lines {
        let made = scene.made_by(None, |kind| kind[0] == meter)[&(meter.clone(), String::new())];
        assert_eq!((calls, left), (made.0, i64::try_from(made.1).expect("a small number")), "{meter}");
    }

    let export = scene.gate.cli(&["usage", "export", "--account", "ada@example.com", "--json"]).done();
    let mut exported: BTreeMap<[String; 4], Sums> = BTreeMap::new();
    for line in export.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let kind = ["meter", "key", "route", "status"].map(|field| row[field].as_str().unwrap_or_default().to_owned());
        let sums = exported.entry(kind).or_default();
        let (charged, refunded) = (number(&row, "units_charged"), number(&row, "units_refunded"));
        *sums = (sums.0 + number(&row, "calls"), sums.1 + charged - refunded, sums.2 + refunded);
    }
    assert_eq!(exported, scene.made);
    let csv = scene.gate.cli(&["usage", "export", "--account", "ada@example.com"]).done().stdout;
    assert_eq!(csv.lines().count(), export.stdout.lines().count() + 1, "a header and the same rows: {csv}");
}

#[test]
fn csv_has_the_same_rows() {
    let scene = scene();
    let query = "step=day&group_by=route";
    let rows = scene.ask(query)["rows"].as_array().cloned().expect("rows");
    let expected: Vec<String> = rows
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let figures = ["calls", "units", "units_refunded"].map(|field| number(row, field).to_string()).join(",");
            format!("{},{},{},{figures}", text("at"), text("meter"), text("group"))
        })
        .collect();
    let target = format!("/tollgate/v1/usage?{query}");
    for request in [Request::get(&target).header("accept", "text/csv"), Request::get(&format!("{target}&format=csv"))] {
        let answer = scene.gate.send(&request.key(&scene.keys[0].raw)).expect(200);
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{answer:?}");
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "at,meter,group,calls,units,units_refunded");
        assert_eq!(lines[1..], expected);
    }
}
