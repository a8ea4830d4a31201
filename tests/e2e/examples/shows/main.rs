//! Prints the figures that the program is held to, each with its bound, and fails where one is missed.
//!
//! `tests/shows.sh` runs it with a release build; see there.

mod billing;
mod figures;
mod fleet;

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tollgate_e2e::{
    Backend, Behaviour, Connection, Gate, Key, Pattern, Request, Setup, eventually, in_parallel, policy,
};

use crate::figures::Figures;

const MEMORY_BYTES_MAX: u64 = 60 << 20;

fn main() -> ExitCode {
    let body_mib: u64 = env::args().nth(1).map_or(1_024, |mib| mib.parse().expect("the length of the body in MiB"));
    let keys = env::args().nth(2).map_or(100_000, |keys| keys.parse().expect("how many keys are moved"));
    let events = env::args().nth(3).map_or(100_000, |events| events.parse().expect("how many events there are"));
    let mut figures = Figures::default();
    if body_mib > 0 {
        bodies(&mut figures, body_mib << 20);
        quota(&mut figures);
        rate(&mut figures);
        reload(&mut figures);
        exit(&mut figures);
    }
    if keys > 0 {
        fleet::show(&mut figures, keys);
    }
    if events > 0 {
        billing::show(&mut figures, events);
    }
    if figures.has_missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn start(backend: &Backend, limits: &str) -> (Gate, Key) {
    let gate = Setup::new(backend).policy(policy::one_plan(limits)).start();
    let key = gate.key("ada@example.com", "pro");
    (gate, key)
}

fn bodies(figures: &mut Figures, length: u64) {
    let backend = Backend::start();
    backend.on("/down", Behaviour::status(200).pattern(length));
    let (mut gate, key) = start(&backend, "quota = \"100/month\"");
    figures.at_most("resident memory at the start", mib(gate.process().memory("VmRSS")), "MiB", 60);

    let began = Instant::now();
    let mut connection = gate.connect();
    connection.write(&Request::get("/down").key(&key.raw).bytes(gate.address())).expect("written");
    let answer = connection.read_head().expect("an answer");
    let mut pattern = Pattern::default();
    let whole = connection.read_body(&answer, false, &mut |bytes| pattern.check(bytes));
    let arrived = pattern.sound_length().filter(|_| whole).unwrap_or(0);
    figures.exactly("bytes of a long body down", arrived.into(), length.into());
    figures.at_most("  took", began.elapsed().as_millis(), "ms", 600_000);
    let memory = gate.process().memory("VmHWM");
    figures.at_most("  resident memory at its highest", mib(memory), "MiB", mib(MEMORY_BYTES_MAX));

    let began = Instant::now();
    let head = format!("POST /up HTTP/1.1\r\nHost: a\r\nx-api-key: {}\r\nContent-Length: {length}\r\n\r\n", key.raw);
    connection.write(head.as_bytes()).expect("written");
    let (mut pattern, mut left) = (Pattern::default(), length);
    while left > 0 {
        let piece = pattern.next(left);
        left -= piece.len() as u64;
        connection.write(piece).expect("written");
    }
    connection.read_answer(false).expect("an answer").expect(200);
    figures.exactly("bytes of a long body up", backend.last().pattern.unwrap_or(0).into(), length.into());
    figures.at_most("  took", began.elapsed().as_millis(), "ms", 600_000);
    let memory = gate.process().memory("VmHWM");
    figures.at_most("  resident memory at its highest", mib(memory), "MiB", mib(MEMORY_BYTES_MAX));
}

fn mib(bytes: u64) -> u128 {
    u128::from(bytes.div_ceil(1 << 20))
}

fn quota(figures: &mut Figures) {
    let backend = Backend::start();
    let (mut gate, key) = start(&backend, "quota = \"1_000/month\"");
    let began = Instant::now();
    let answers = in_parallel(200, |_| {
        let mut connection = gate.connect();
        let request = Request::get("/events/1").key(&key.raw);
        let answers = (0..6).map(|_| connection.send(&request).expect("an answer").status);
        answers.map(|status| (status, Instant::now())).collect::<Vec<_>>()
    });
    let took = began.elapsed();
    let killed = Instant::now();
    gate.kill();
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let count = |wanted: u16| answers.iter().filter(|(status, _)| *status == wanted).count() as u128;
    figures.exactly("200 clients, quota of 1 000: answers 200", count(200), 1_000);
    figures.exactly("  answers 429", count(429), 200);
    figures.at_most("  took", took.as_millis(), "ms", 60_000);
    let last_second = answers.iter().filter(|(status, at)| *status == 200 && killed - *at <= Duration::from_secs(1));
    let last_second = last_second.count() as u128;
    gate.start_again();
    let back = admitted(&gate, &key, 1_000);
    figures.at_most("  came back after kill -9 at once (of the last second)", back, "", last_second);
    gate.await_ledger();
    let used = gate.used("ada@example.com");
    figures.exactly("  used, as the ledger says", used.into(), 1_000);
    gate.kill();
    gate.start_again();
    figures.exactly("  came back after kill -9 a second later", admitted(&gate, &key, 100), 0);
    gate.restart();
    figures.exactly("  came back after a stop", admitted(&gate, &key, 100), 0);
}

fn admitted(gate: &Gate, key: &Key, calls: usize) -> u128 {
    (0..calls).filter(|_| gate.get("/events/1", key).status == 200).count() as u128
}

fn rate(figures: &mut Figures) {
    let backend = Backend::start();
    let (gate, key) = start(&backend, "rate = \"600/minute\"\nburst = 60");
    let mut connection = gate.connect();
    let request = Request::get("/events/1").key(&key.raw);
    let began = Instant::now();
    let answers: Vec<_> = (0..100).map(|_| connection.send(&request).expect("an answer")).collect();
    let most = 60 + began.elapsed().as_millis() / 100 + 1;
    let passed = answers.iter().filter(|answer| answer.status == 200).count() as u128;
    let bound = format!("60 to {most}");
    figures.show("100 rapid calls, 600 a minute, burst 60: answers 200", passed, &bound, (60..=most).contains(&passed));
    let refused = answers.iter().rev().find(|answer| answer.status == 429);
    let wait_secs = refused.map_or(0, |answer| answer.number("retry-after"));
    thread::sleep(Duration::from_secs(wait_secs));
    let status = connection.send(&request).expect("an answer").status;
    figures.exactly(&format!("  a lone call after Retry-After ({wait_secs} s)"), status.into(), 200);
}

fn reload(figures: &mut Figures) {
    let backend = Backend::start();
    let (gate, key) = start(&backend, "rate = \"1/hour\"\nburst = 5");
    let (stopped, address) = (AtomicBool::new(false), gate.address());
    let statuses = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address);
                    let request = Request::get("/events/1").key(&key.raw);
                    let mut statuses = Vec::new();
                    while !stopped.load(Ordering::SeqCst) {
                        statuses.push(connection.send(&request).map_or(0, |answer| answer.status));
                    }
                    statuses
                })
            })
            .collect();
        eventually("the bucket is empty", || (backend.count() >= 5).then_some(()));
        gate.edit(|text| text.replace("1/hour", "6_000/minute"));
        let edited = Instant::now();
        eventually("the new rate holds", || (backend.count() > 5).then_some(()));
        figures.at_most("an edited rate holds under load after", edited.elapsed().as_millis(), "ms", 2_000);
        stopped.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect::<Vec<_>>()
    });
    let failed = statuses.iter().filter(|status| ![200, 429].contains(*status)).count();
    figures.exactly(&format!("  failed of {} calls meanwhile", statuses.len()), failed as u128, 0);
}

fn exit(figures: &mut Figures) {
    let backend = Backend::start();
    let (mut gate, key) = start(&backend, "quota = \"100/month\"");
    let mut kept: Vec<_> = (0..50).map(|_| gate.connect()).collect();
    for connection in &mut kept {
        connection.send(&Request::get("/a").key(&key.raw)).expect("an answer").expect(200);
    }
    let stopped = gate.stop();
    figures.at_most("idle exit, 50 connections at rest", stopped.took.as_millis(), "ms", 2_000);
    let began = Instant::now();
    gate.start_again();
    figures.at_most("start until ready", began.elapsed().as_millis(), "ms", 2_000);
}
