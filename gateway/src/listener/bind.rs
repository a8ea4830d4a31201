//! Binds the addresses to listen on. Deliberately accepts nothing yet.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

/// How many connections may wait to be accepted; the system caps it. The standard library's 128
/// overflows when a few hundred clients come at once, and each that is turned away waits a second
/// before it tries again.
pub(super) const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", reason(.source))]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Sockets that are bound and listening; connections queue until [`serve`](super::serve).
#[derive(Debug)]
pub struct BoundListeners {
    pub(super) listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl BoundListeners {
    /// The addresses bound, in the order asked for, with the port the system chose where 0 was
    /// asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Binds every address, or none.
///
/// # Errors
///
/// A [`BindError`] naming the first address that is in use, not this machine's, or not permitted.
pub fn bind(addresses: &[SocketAddr]) -> Result<BoundListeners, BindError> {
    let mut bound = BoundListeners {
        listeners: Vec::with_capacity(addresses.len()),
        addresses: Vec::with_capacity(addresses.len()),
    };
    for &address in addresses {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        // A socket that listens already takes the new length.
        SockRef::from(&listener).listen(BACKLOG).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        bound.addresses.push(listener.local_addr().map_err(failed)?);
        bound.listeners.push(listener);
    }
    Ok(bound)
}

/// Takes over sockets that somebody else has bound and that listen already, such as a service manager that holds them
/// across an upgrade.
///
/// # Errors
/// One of them is no such socket.
pub fn adopt(listeners: Vec<TcpListener>) -> io::Result<BoundListeners> {
    let mut addresses = Vec::with_capacity(listeners.len());
    for listener in &listeners {
        listener.set_nonblocking(true)?;
        addresses.push(listener.local_addr()?);
    }
    Ok(BoundListeners { listeners, addresses })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_in_one_line() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind(&[any, any]).expect("two free ports");
        let taken = first.addresses()[1];
        assert_ne!(taken.port(), 0);
        let error = bind(&[any, taken]).expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("cannot listen on {taken}: the address is in use"));
    }
}
