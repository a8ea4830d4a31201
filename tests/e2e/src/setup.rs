//! A configuration to start a gate with: the addresses and the store are the harness's, the rest is the test's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::backend::Backend;
use crate::gate::Gate;
use crate::mailbox::Mailbox;
use crate::policy;
use crate::profile::Profile;
use crate::stores::Stores;

/// Where the three listeners of a gate are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

/// Which part of the program a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gateway and control plane in one.
    Up,
    /// The gateway alone; the control plane is at this address.
    Gateway(SocketAddr),
    /// The control plane alone.
    Admin,
}

impl Role {
    /// The command that starts it.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Gateway(_) => "gateway",
            Self::Admin => "admin",
        }
    }
}

/// What a gate is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    upstream: String,
    sections: BTreeMap<&'static str, String>,
    policy: String,
    /// A whole file in place of all that, its addresses to be replaced.
    whole: Option<String>,
    role: Role,
    stores: Option<Arc<Stores>>,
    redis_by: Option<String>,
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
            role: Role::Up,
            stores: None,
            redis_by: None,
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

    /// Mailing by this server. The gate's public name must be set besides.
    #[must_use]
    pub fn mailing(self, mailbox: &Mailbox) -> Self {
        self.set("mail", &format!("server = \"{}\"", mailbox.url()))
            .set("mail", "from = \"Acme <noreply@acme.example>\"")
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

    /// On these stores, not on the profile's.
    #[must_use]
    pub fn on(self, stores: &Arc<Stores>) -> Self {
        Self { stores: Some(Arc::clone(stores)), ..self }
    }

    /// As a part of the program. Parts are told their stores by [`Self::on`].
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Reaching Redis at this URL, whatever the stores say.
    #[must_use]
    pub fn redis_by(self, url: &str) -> Self {
        Self { redis_by: Some(url.to_owned()), ..self }
    }

    /// Starts a gate.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(self) -> Gate {
        Gate::start(&self)
    }

    /// Which part of the program this is.
    pub(crate) fn its_role(&self) -> Role {
        self.role
    }

    /// The stores to start on.
    pub(crate) fn its_stores(&self) -> Arc<Stores> {
        self.stores.clone().unwrap_or_else(|| Arc::new(Stores::of(Profile::current())))
    }

    /// The text of the file.
    pub(crate) fn render(&self, addresses: &Addresses, stores: &Stores) -> String {
        let Addresses { gateway, admin, metrics } = addresses;
        let store = stores.section(self.redis_by.as_deref());
        let mut sections = match &self.whole {
            None => BTreeMap::from([
                ("gateway", format!("listen = \"{gateway}\"\n")),
                ("upstream", format!("url = \"{}\"\n", self.upstream)),
                ("store", store.clone()),
            ]),
            Some(_) => BTreeMap::new(),
        };
        sections.insert("metrics", format!("listen = \"{metrics}\"\n"));
        let admin = match self.role {
            Role::Gateway(admin) => format!("url = \"http://{admin}\"\n"),
            Role::Up | Role::Admin => format!("listen = \"{admin}\"\n"),
        };
        sections.insert("admin", admin);
        if let Some(line) = stores.limits_line() {
            sections.insert("limits", format!("{line}\n"));
        }
        for (section, lines) in &self.sections {
            sections.entry(section).or_default().push_str(lines);
        }
        let admin = sections.entry("admin").or_default();
        if let Some(token) = stores.token().filter(|_| !admin.contains("token = ")) {
            writeln!(admin, "token = \"{token}\"").expect("writing to a string cannot fail");
        }
        let whole = self.whole.as_deref().map(|whole| self.replaced(whole, *gateway, &store));
        let mut text = whole.unwrap_or_default() + "\n";
        for (section, lines) in sections {
            add(&mut text, section, &lines);
        }
        match &self.whole {
            None => text + &self.policy,
            Some(_) => text,
        }
    }

    /// Somebody else's file with our listener, upstream and database.
    fn replaced(&self, whole: &str, gateway: SocketAddr, store: &str) -> String {
        let replace = |line: &str| match line.split_once(" = ").map(|(key, _)| key) {
            Some("listen") => format!("listen = \"{gateway}\""),
            Some("url") => format!("url = \"{}\"", self.upstream),
            Some("database") => store.trim_end().to_owned(),
            _ => line.to_owned(),
        };
        whole.lines().map(replace).collect::<Vec<_>>().join("\n")
    }
}

/// Adds lines to a section, which is begun where the text does not have it.
fn add(text: &mut String, section: &str, lines: &str) {
    let header = format!("\n[{section}]\n");
    match text.find(&header) {
        Some(at) => text.insert_str(at + header.len(), lines),
        None => write!(text, "{header}{lines}").expect("writing to a string cannot fail"),
    }
}
