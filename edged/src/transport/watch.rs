//! Watching the network: where our packets leave from, and who has fallen silent.
//!
//! QUIC goes on over a change of address, once it notices; until then it waits out
//! timeouts that double. So what it cannot know is asked of the kernel, once a second
//! and without a packet: by which address each peer is reached. When that changes, or a
//! link hears nothing for [`SILENCE`] while it speaks, all links are bound anew: they
//! send at once, and the other side learns the address. A link that answers from an
//! address this machine no longer has is ended, to be dialled anew; so is one that slept
//! with the machine for longer than its peer waits. The core is told, and dials who is
//! down without waiting out its backoff.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, VarInt};
use relay_core::event::Input;
use relay_core::id::LinkId;
use relay_core::time::Mono;
use relay_core::wire::Goodbye;
use tracing::{debug, info, warn};

use super::shared::{Shared, locked};
use crate::clock;

/// How often the kernel is asked: a second of silence is no timeout of anybody.
const EACH: Duration = Duration::from_secs(1);
/// A link that speaks and hears nothing for so long may have lost its way: longer than
/// the round trip of any path, a fraction of the shortest idle timeout.
const SILENCE: Duration = Duration::from_secs(5);
/// The clock of the machine and that of its waking differ by less while it is awake.
const NAP: Duration = Duration::from_secs(2);
/// Nobody's addresses (RFC 5737, RFC 3849): the way to them is the default route.
const ANYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

/// One link, as last looked at.
struct Seen {
    /// Where its packets leave from, when that was last known.
    source: Option<IpAddr>,
    /// Datagrams received, and since when no more.
    received: u64,
    since: Mono,
    /// Datagrams sent by then.
    sent: u64,
}

/// Watches until the transport stops. `socket` is the one the endpoint is bound to.
pub(crate) async fn watch(shared: Arc<Shared>, endpoint: Endpoint, socket: UdpSocket) {
    let mut watcher = Watcher {
        links: BTreeMap::new(),
        ways: ANYWHERE.map(source),
        asleep: asleep(),
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(EACH) => {}
            () = shared.stopping.cancelled() => return,
        }
        if watcher.look(&shared) {
            match socket.try_clone().and_then(|same| endpoint.rebind(same)) {
                Ok(()) => debug!("Links are bound anew"),
                Err(error) => warn!(%error, "Links cannot be bound anew"),
            }
            // Without a driver nobody needs to know.
            let _ = shared.tell(Input::NetworkChanged).await;
        }
    }
}

struct Watcher {
    links: BTreeMap<LinkId, Seen>,
    ways: [Option<IpAddr>; 2],
    /// How long the machine has slept since it was started.
    asleep: Duration,
}

impl Watcher {
    /// Whether links must be bound anew.
    fn look(&mut self, shared: &Shared) -> bool {
        let connections: Vec<(LinkId, Connection, Duration)> = locked(&shared.links)
            .iter()
            .map(|(link, handle)| {
                let line = &handle.line;
                (
                    *link,
                    line.connection.clone(),
                    shared.times.idle(&line.peer),
                )
            })
            .collect();
        self.links
            .retain(|link, _| connections.iter().any(|(other, ..)| other == link));
        let slept = asleep().saturating_sub(self.asleep);
        self.asleep += slept;
        let ways = ANYWHERE.map(source);
        let mut changed = slept >= NAP || moved(&mut self.ways, ways);
        for (link, connection, idle) in connections {
            changed |= self.look_at(link, &connection);
            if slept >= idle {
                end(
                    &connection,
                    "the machine slept for longer than the peer waits",
                );
            }
        }
        changed
    }

    fn look_at(&mut self, link: LinkId, connection: &Connection) -> bool {
        let stats = connection.stats();
        let (received, sent) = (stats.udp_rx.datagrams, stats.udp_tx.datagrams);
        let now = clock::now().mono;
        let here = source(connection.remote_address());
        let seen = self.links.entry(link).or_insert(Seen {
            source: here,
            received,
            since: now,
            sent,
        });
        if received != seen.received {
            (seen.received, seen.since, seen.sent) = (received, now, sent);
        }
        let silent = sent > seen.sent && now.since(seen.since) >= SILENCE;
        if silent {
            info!(%link, "Link is silent");
            (seen.since, seen.sent) = (now, sent);
        }
        let moved = here.is_some() && here != seen.source;
        if moved {
            info!(%link, from = ?seen.source, to = ?here, "Link leaves from another address");
            seen.source = here;
            if connection.local_ip().is_some_and(|ip| !is_ours(ip)) {
                end(connection, "the address it was dialled at is gone");
            }
        }
        moved || silent
    }
}

/// Keeps what is known of the ways; whether one leads elsewhere. No way at all is no
/// news: nothing can be sent until there is one.
fn moved(known: &mut [Option<IpAddr>; 2], found: [Option<IpAddr>; 2]) -> bool {
    let mut moved = false;
    for (known, found) in known.iter_mut().zip(found) {
        moved |= found.is_some() && *known != found;
        *known = found.or(*known);
    }
    moved
}

fn end(connection: &Connection, why: &str) {
    connection.close(VarInt::from_u32(Goodbye::Internal.code()), why.as_bytes());
}

/// The address by which packets to `to` leave; `None`: there is no way.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Whether this machine has the address.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// How long the machine has slept since it was started.
fn asleep() -> Duration {
    clock::now().mono.since(clock::awake())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_to_ourselves_leave_from_ourselves() {
        let to = "127.0.0.1:9".parse().expect("an address");

        assert_eq!(source(to), Some(Ipv4Addr::LOCALHOST.into()));
        assert!(is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_ours(Ipv4Addr::new(192, 0, 2, 1).into()));
    }

    #[test]
    fn only_another_way_is_a_change() {
        let (one, other) = (
            Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
            Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))),
        );
        let mut known = [one, None];

        assert!(!moved(&mut known, [one, None]));
        assert!(!moved(&mut known, [None, None]), "no way is no news");
        assert!(!moved(&mut known, [one, None]), "the same way again");
        assert!(moved(&mut known, [other, None]));
        assert!(moved(&mut known, [other, one]));
    }
}
