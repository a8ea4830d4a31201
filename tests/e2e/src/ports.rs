//! Ports that nobody listens on.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the range from which systems take ports for outgoing connections, so that none of these can take one between
/// its being found and its being listened on.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// Addresses of this machine that are free now, and differ.
///
/// # Panics
/// When none is found.
pub fn free_ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let mut held: Vec<TcpListener> = Vec::new();
    let span = u64::from(PORTS.end - PORTS.start);
    for attempt in 0..10_000_u32 {
        if held.len() == COUNT {
            break;
        }
        let offset = RandomState::new().hash_one(attempt) % span;
        let port = PORTS.start + u16::try_from(offset).expect("the range is one of ports");
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    let addresses: Vec<SocketAddr> =
        held.iter().map(|listener| listener.local_addr().expect("a bound socket has an address")).collect();
    addresses.try_into().expect("there are free ports")
}

/// An address that refuses connections.
pub fn closed_port() -> SocketAddr {
    let [address] = free_ports();
    address
}
