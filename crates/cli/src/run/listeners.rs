//! The sockets of a process: bound before anything else starts, or taken over from a service manager.
//!
//! A service manager that holds the sockets (systemd's socket units) lets a new process begin on them before the old
//! one ends, so that an upgrade refuses no connection.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, bail};
use listenfd::ListenFd;
use tollgate_config::{Environment, ProcessEnvironment, Settings};
use tollgate_gateway::listener::{BoundListeners, adopt, bind};

use super::Role;

/// What each socket that was handed over is for, in their order, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets of the process. Each is there where the role has a use for it.
pub(super) struct Listeners {
    pub(super) gateway: Option<BoundListeners>,
    pub(super) admin: Option<TcpListener>,
    pub(super) metrics: TcpListener,
}

/// Sockets that were handed over, by what they are for.
#[derive(Default)]
struct HandedOver {
    gateway: Vec<TcpListener>,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

impl Listeners {
    /// Takes over what was handed over and binds the rest.
    ///
    /// # Errors
    /// An address cannot be listened on, or a socket that was handed over cannot be used.
    pub(super) fn open(settings: &Settings, role: Role) -> anyhow::Result<Self> {
        let handed = HandedOver::take()?;
        let gateway = match handed.gateway {
            _ if !role.serves_calls() => None,
            sockets if sockets.is_empty() => Some(bind(&settings.gateway.listen).context("gateway.listen")?),
            sockets => Some(adopt(sockets).context("the sockets handed over for the gateway")?),
        };
        let admin = match handed.admin {
            _ if !role.serves_control() => None,
            Some(socket) => Some(ready(socket).context("the socket handed over for the admin API")?),
            None => Some(one("admin.listen", settings.admin.listen)?),
        };
        let metrics = match handed.metrics {
            Some(socket) => ready(socket).context("the socket handed over for metrics")?,
            None => one("metrics.listen", settings.metrics.listen)?,
        };
        Ok(Self { gateway, admin, metrics })
    }
}

impl HandedOver {
    fn take() -> anyhow::Result<Self> {
        let mut descriptors = ListenFd::from_env();
        let names = ProcessEnvironment.variable(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = Self::default();
        for index in 0..descriptors.len() {
            // Without a name it is the gateway's: most units have only that one.
            let name = names.next().unwrap_or_default();
            let Some(socket) = descriptors.take_tcp_listener(index).context("a socket that was handed over")? else {
                continue;
            };
            match name {
                "admin" => handed.admin = Some(socket),
                "metrics" => handed.metrics = Some(socket),
                "gateway" | "" | "unknown" => handed.gateway.push(socket),
                other if other.ends_with(".socket") => handed.gateway.push(socket),
                other => bail!("a socket is handed over as `{other}`; known are `gateway`, `admin` and `metrics`"),
            }
        }
        Ok(handed)
    }
}

fn one(key: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let failed = || format!("cannot listen on {address} ({key})");
    ready(TcpListener::bind(address).with_context(failed)?).with_context(failed)
}

fn ready(listener: TcpListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(listener)
}
