//! A configuration to start a gate with: the addresses and the store are the harness's, the rest is the test's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::backend::Backend;
use crate::gate::Gate;
use crate::policy;
use crate::profile::Profile;

/// Where the three listeners of a gate are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

/// What a gate is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    upstream: String,
    sections: BTreeMap<&'static str, String>,
    policy: String,
    /// A whole file in place of all that, its addresses to be replaced.
    whole: Option<String>,
}

impl Setup {
    /// In front of this backend, under the standard policy, logging JSON.
    pub fn new(backend: &Backend) -> Self {
        Self::in_front_of(backend.address())
    }

    /// In front of this address, whatever is there.
    pub fn in_front_of(upstream: SocketAddr) -> Self {
        Self {
            upstream: format!("http://{upstream}"),
            sections: BTreeMap::new(),
            policy: policy::STANDARD.to_owned(),
            whole: None,
        }
    }

    /// With this line in a section.
    #[must_use]
    pub fn set(mut self, section: &'static str, line: &str) -> Self {
        let lines = self.sections.entry(section).or_default();
        lines.push_str(line);
        lines.push('\n');
        self
    }

    /// Under these plans and routes.
    #[must_use]
    pub fn policy(self, policy: impl Into<String>) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// With something more at the end of the policy, such as a route.
    #[must_use]
    pub fn more_policy(mut self, policy: &str) -> Self {
        self.policy.push_str(policy);
        self
    }

    /// With the upstream named, not addressed.
    #[must_use]
    pub fn upstream_host(mut self, host: &str) -> Self {
        let (_, port) = self.upstream.rsplit_once(':').expect("an upstream has a port");
        self.upstream = format!("http://{host}:{port}");
        self
    }

    /// With a base path at the upstream.
    #[must_use]
    pub fn base_path(mut self, path: &str) -> Self {
        self.upstream.push_str(path);
        self
    }

    /// With a whole file of somebody else's: its listener, upstream and database are replaced, and what it leaves to
    /// the defaults is added.
    #[must_use]
    pub fn whole_file(self, text: impl Into<String>) -> Self {
        Self { whole: Some(text.into()), ..self }
    }

    /// Starts a gate.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(self) -> Gate {
        Gate::start(&self)
    }

    /// The text of the file.
    pub(crate) fn render(&self, addresses: &Addresses) -> String {
        let Addresses { gateway, admin, metrics } = addresses;
        let store = Profile::current().store_section();
        if let Some(whole) = &self.whole {
            let replaced = whole
                .lines()
                .map(|line| match line.split_once(" = ").map(|(key, _)| key) {
                    Some("listen") => format!("listen = \"{gateway}\""),
                    Some("url") => format!("url = \"{}\"", self.upstream),
                    Some("database") => store.trim_end().to_owned(),
                    _ => line.to_owned(),
                })
                .collect::<Vec<_>>()
                .join("\n");
            return format!("{replaced}\n[admin]\nlisten = \"{admin}\"\n[metrics]\nlisten = \"{metrics}\"\n");
        }
        let mut sections = BTreeMap::from([
            ("gateway", format!("listen = \"{gateway}\"\n")),
            ("upstream", format!("url = \"{}\"\n", self.upstream)),
            ("admin", format!("listen = \"{admin}\"\n")),
            ("metrics", format!("listen = \"{metrics}\"\n")),
            ("store", store.to_owned()),
        ]);
        for (section, lines) in &self.sections {
            sections.entry(section).or_default().push_str(lines);
        }
        let mut text = String::new();
        for (section, lines) in sections {
            writeln!(text, "[{section}]\n{lines}").expect("writing to a string cannot fail");
        }
        text + &self.policy
    }
}
