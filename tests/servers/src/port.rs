//! Ports that nobody listens on.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use crate::{Error, Result};

/// Below the ports that systems give to outgoing connections: a server keeps its port while it is down, and nobody's
/// connection must take it meanwhile.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

const TRIES_MAX: usize = 100;

/// Free just now. Whoever binds it later must be ready to find it taken, and to ask again.
pub(crate) fn free() -> Result<SocketAddr> {
    for _ in 0..TRIES_MAX {
        let port = FIRST + u16::try_from(random() % u64::from(COUNT)).expect("less than the count");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Error::new(format!("no free port on 127.0.0.1 in {TRIES_MAX} tries from {FIRST} on")))
}

/// A free port, used by `bind` before anybody else takes it.
pub(crate) fn taken<T>(bind: impl Fn(SocketAddr) -> io::Result<T>) -> Result<(SocketAddr, T)> {
    let mut tries = 1;
    loop {
        let address = free()?;
        match bind(address) {
            Ok(bound) => return Ok((address, bound)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(Error::new(format!("failed to listen on {address}: {error}"))),
        }
    }
}

/// Different in every process and on every call, which is all that ports and passwords of a test need.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
