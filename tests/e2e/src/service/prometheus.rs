//! A Prometheus server under the configuration that `deploy/` ships, its targets and pace replaced.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::tied;
use crate::http::{Connection, Request};
use crate::ports::free_ports;
use crate::process::Process;
use crate::wait::eventually;

/// What `deploy/` ships.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus");

/// A Prometheus server of its own.
#[derive(Debug)]
pub struct Prometheus {
    // Ended before its folder goes.
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it on a configuration that scrapes these gateways and control planes, every second.
    ///
    /// # Panics
    /// When it does not come up, or the configuration is not of the shape that is expected.
    pub fn scraping(gateways: &[SocketAddr], admins: &[SocketAddr]) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-prometheus-").tempdir().expect("a folder");
        let [address] = free_ports();
        let shipped = fs::read_to_string(format!("{FOLDER}/prometheus.yml")).expect("deploy/ ships a configuration");
        let path = folder.path().join("prometheus.yml");
        let jobs = [("tollgate-gateway", gateways), ("tollgate-admin", admins)];
        fs::write(&path, configuration(&shipped, &jobs)).expect("written");
        let mut command = tied("KILL", None, Path::new("prometheus"));
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}")).stdin(Stdio::null()).current_dir(folder.path());
        let mut process = Process::spawn(&mut command, folder.path());
        eventually("Prometheus is ready", || {
            assert!(process.ended().is_none(), "Prometheus ended: {}", process.stderr());
            let answer = Connection::try_open(address).and_then(|mut open| open.send(&Request::get("/-/ready")));
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        });
        Self { _process: process, address, _folder: folder }
    }

    /// Its scrape targets, each with how its last scrape went.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn targets(&self) -> Vec<Value> {
        self.ask("/api/v1/targets?state=active")["data"]["activeTargets"].as_array().cloned().unwrap_or_default()
    }

    /// What a query gives now.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/api/v1/query?query={query}"));
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The names of the alert rules in force.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.ask("/api/v1/rules?type=alert");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    fn ask(&self, target: &str) -> Value {
        let answer = Connection::open(self.address).send(&Request::get(target));
        answer.unwrap_or_else(|error| panic!("no answer to {target}: {error}")).json()
    }
}

/// A configuration with these targets for its jobs, at a quicker pace, its rules found from anywhere.
fn configuration(shipped: &str, jobs: &[(&str, &[SocketAddr])]) -> String {
    let mut job = None;
    let mut replaced = 0;
    let line = |line: &str| {
        if let Some((_, name)) = line.split_once("job_name: ") {
            job = jobs.iter().find(|(known, _)| *known == name.trim());
        }
        let is_targets = line.trim_start().starts_with("- targets:");
        match (job, line.split_once("- targets:")) {
            (Some((_, targets)), Some((indent, _))) if is_targets => {
                replaced += 1;
                let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
                format!("{indent}- targets: [{}]", targets.join(", "))
            }
            _ => line.replace("interval: 15s", "interval: 1s").replace("- rules/", &format!("- {FOLDER}/rules/")),
        }
    };
    let text = shipped.lines().map(line).collect::<Vec<_>>().join("\n");
    assert_eq!(replaced, jobs.len(), "each job has its targets: {text}");
    text + "\n"
}
