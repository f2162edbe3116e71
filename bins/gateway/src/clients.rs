use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections each client has open. A client is an address, or a /64 of IPv6: so much
/// has everybody who has any.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among those of its client, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// `None` where the client has as many as it may have.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut open = self.lock();
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { clients: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.lock();
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_bound() {
        let clients = Clients::new(1);
        let place = |address: &str| clients.place(address.parse().expect("an address"));
        let first = place("192.0.2.1");
        assert!(first.is_some() && place("192.0.2.1").is_none());
        assert!(place("::ffff:192.0.2.1").is_none(), "the same, by another name");
        let _other = place("192.0.2.2").expect("another client");
        let _sixth = place("2001:db8::1").expect("another client");
        assert!(place("2001:db8::2").is_none() && place("2001:db8:0:1::1").is_some());
        drop(first);
        assert!(place("192.0.2.1").is_some());
        assert_eq!(clients.lock().len(), 2, "who has none open is forgotten");
    }
}
