//! From one machine to a fleet in the middle of a month.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::cli::run_within;
use crate::foreign::{foreign_key, sha256};
use crate::gate::Gate;
use crate::http::Request;
use crate::policy;
use crate::service::Shared;
use crate::setup::Setup;
use crate::stores::{Mode, Stores};
use crate::wait::eventually_within;

/// How many keys are called before and after.
const SAMPLE: usize = 40;
/// Calls of each of them before.
const CALLS: usize = 3;
/// The longest that one command may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// What came of it.
#[derive(Clone, Debug)]
pub struct MigrationOutcome {
    /// Keys before, and after.
    pub keys: (usize, usize),
    /// Units used by all accounts before, and after, by their sum.
    pub used: (u64, u64),
    /// Of those called: what each had left by the answer's own header before, and after (one call later).
    pub left: Vec<(u64, u64)>,
    /// How long it took, and how long it took once more when there was nothing left to do.
    pub took: (Duration, Duration),
    /// What it said.
    pub said: String,
}

fn left(gate: &Gate, number: usize) -> u64 {
    let answer = gate.send(&Request::get("/events/1").key(&foreign_key(number))).expect(200);
    answer.number("x-ratelimit-remaining")
}

/// Fills an embedded gate with so many keys, each of an account that has used some of its quota, and moves it to
/// `PostgreSQL` and Redis.
///
/// # Panics
/// When a command fails, or a key does not work.
#[track_caller]
pub fn migration(keys: usize) -> MigrationOutcome {
    let backend = Backend::start();
    let setup = Setup::new(&backend)
        .set("keys", "also_accept = [\"rk_*\"]")
        .policy(policy::one_plan("quota = \"1_000/month\""));
    let mut old = setup.clone().on(&Arc::new(Stores::file())).start();
    let imported = |number: usize| u64::try_from(number % 900).expect("a small number");
    let mut csv = "key_hash,email,plan,used\n".to_owned();
    for number in 0..keys {
        let hash = sha256(&foreign_key(number));
        writeln!(csv, "{hash},user{number}@example.com,pro,{}", imported(number)).expect("a string takes it");
    }
    fs::write(old.folder().join("keys.csv"), csv).expect("written");
    old.cli_within(&["keys", "import", "keys.csv"], PATIENCE).done();
    let sample: Vec<usize> = (0..SAMPLE.min(keys)).map(|index| index * keys / SAMPLE.min(keys)).collect();
    let call = |number: &usize| [(); CALLS].map(|()| left(&old, *number))[CALLS - 1];
    let left_before: Vec<u64> = sample.iter().map(call).collect();
    old.stop();

    let redis = vec![Shared::redis().expect("the services are there")];
    let server = Shared::postgres().expect("the services are there");
    let stores = Arc::new(Stores::database(&server).redis(redis, Mode::Leased).patient());
    let from = format!("sqlite://{}", old.folder().join("tollgate.db").display());
    let to = stores.url();
    let migrate = || {
        let began = Instant::now();
        let config = old.config().to_str().expect("temporary paths are text");
        let arguments = ["--config", config, "migrate", "--from", &from, "--to", &to];
        let printed = run_within(old.folder(), &arguments, None, PATIENCE).done();
        (began.elapsed(), printed)
    };
    let (first, printed) = migrate();
    let (again, _) = migrate();

    let new = setup.on(&stores).start();
    let left_after = sample.iter().map(|number| left(&new, *number));
    let left = left_before.into_iter().zip(left_after).collect();
    let database = stores.in_server().expect("a database of a server");
    let number = |statement: &str| {
        database.query(statement).unwrap_or_else(|error| panic!("{error}")).parse::<u64>().expect("a number")
    };
    let sum = || number("SELECT COALESCE(SUM(units_charged) - SUM(units_refunded), 0) FROM usage_lines");
    let used_before = (0..keys).map(imported).sum::<u64>() + (sample.len() * CALLS) as u64;
    let used_expected = used_before + sample.len() as u64;
    let used_after = eventually_within(Duration::from_secs(20), || Some(sum()).filter(|sum| *sum == used_expected));
    MigrationOutcome {
        keys: (keys, usize::try_from(number("SELECT COUNT(*) FROM keys")).expect("fits")),
        used: (used_before, used_after.unwrap_or_else(sum) - sample.len() as u64),
        left,
        took: (first, again),
        said: printed.stderr + &printed.stdout,
    }
}
