//! How two nodes meet: TLS, then the node, then Hello. Only then is there a link.
//!
//! TLS checks chain, time and signature by the `certs` crate; after it, the node that
//! the certificate proves is compared with the one dialled or with those we admit, and a
//! mismatch is closed with a code that names the gate. Whatever is wrong is logged by
//! the side that refuses, and told to the core as a failed dial by the side that dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use certs::{CertificateDer, Gate, Refusal, SERVER_NAME};
use quinn::{Connection, Endpoint, Incoming, VarInt};
use relay_core::event::Input;
use relay_core::id::{LinkId, NodeId};
use relay_core::wire::{Frame, Goodbye, Hello, VERSION};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{debug, info, warn};

use super::endpoint::{client_config, server_config};
use super::error::{LinkError, MeetError, TransportError};
use super::frames;
use super::link::{self, Control, ORDERS};
use super::refusals::our_gate;
use super::shared::{Handle, Line, Shared, locked};

/// Two nodes that have met.
struct Met {
    connection: Connection,
    hello: Hello,
    control: Control,
    dialled: bool,
}

/// Answers a dialler, and serves the link that comes of it.
///
/// `place` among the handshakes under way is given back once they have met.
pub(crate) async fn answer(shared: Arc<Shared>, incoming: Incoming, place: OwnedSemaphorePermit) {
    let from = incoming.remote_address();
    let refusal = Refusal::new();
    let met = tokio::time::timeout(shared.handshake, async {
        let tls = shared
            .identity()
            .server_config(Arc::clone(&shared.clock), refusal.clone());
        let times = shared.times.accepted();
        let config = server_config(tls.map_err(TransportError::from)?, times)?;
        let connection = incoming.accept_with(Arc::new(config))?.await?;
        meet(&shared, connection, None).await
    });
    let met = tokio::select! {
        met = met => met.unwrap_or(Err(MeetError::TimedOut)),
        () = shared.stopping.cancelled() => Err(MeetError::Stopping),
    };
    drop(place);
    match met {
        Ok(met) => serve(shared, met).await,
        Err(error) => {
            let why = failed(&shared, &from.to_string(), &refusal, &error);
            debug!(%from, why, "No link came of a handshake");
        }
    }
}

/// Dials `peer` at one address after another until it answers, and serves the link; tells
/// the core when none does within `timeout`.
pub(crate) async fn dial(
    shared: Arc<Shared>,
    endpoint: Endpoint,
    peer: NodeId,
    addresses: Vec<String>,
    timeout: Duration,
) {
    let mut why = "no address to dial".to_owned();
    let addresses = shared.addresses.arranged(&peer, &addresses);
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in &addresses {
        let refusal = Refusal::new();
        let reached = reach(&shared, &endpoint, &peer, address, &refusal);
        let met = tokio::select! {
            met = tokio::time::timeout(share, reached) => met.unwrap_or(Err(MeetError::TimedOut)),
            () = shared.stopping.cancelled() => Err(MeetError::Stopping),
        };
        match met {
            Ok(met) => return serve(shared, met).await,
            Err(error) => {
                shared.addresses.failed(&peer, address);
                why = format!(
                    "{address}: {}",
                    failed(&shared, peer.as_str(), &refusal, &error)
                );
            }
        }
    }
    debug!(%peer, why, "Dial came to nothing");
    // Without a driver nobody needs to know.
    let _ = shared
        .tell(Input::LinkDown {
            peer,
            link: None,
            why,
        })
        .await;
}

async fn reach(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    peer: &NodeId,
    address: &str,
    refusal: &Refusal,
) -> Result<Met, MeetError> {
    let found = tokio::net::lookup_host(address).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| MeetError::Address(error.to_string()))?
        .collect();
    let mut last = MeetError::Address("name has no address".to_owned());
    for to in found {
        let tls = shared
            .identity()
            .client_config(Arc::clone(&shared.clock), refusal.clone());
        let times = shared.times.dialled(peer);
        let config = client_config(tls.map_err(TransportError::from)?, times)?;
        let connecting = match endpoint.connect_with(config, to, SERVER_NAME) {
            Ok(connecting) => connecting,
            Err(error) => {
                last = MeetError::Address(error.to_string());
                continue;
            }
        };
        match connecting.await {
            Ok(connection) => return meet(shared, connection, Some(peer)).await,
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Checks the node and exchanges Hellos; closes the connection if they do not agree.
async fn meet(
    shared: &Shared,
    connection: Connection,
    dialled: Option<&NodeId>,
) -> Result<Met, MeetError> {
    match greet(shared, &connection, dialled).await {
        Ok((hello, control)) => Ok(Met {
            connection,
            hello,
            control,
            dialled: dialled.is_some(),
        }),
        Err(MeetError::Closed { why, text }) => {
            connection.close(VarInt::from_u32(why.code()), text.as_bytes());
            Err(MeetError::Closed { why, text })
        }
        Err(error) => Err(error),
    }
}

async fn greet(
    shared: &Shared,
    connection: &Connection,
    dialled: Option<&NodeId>,
) -> Result<(Hello, Control), MeetError> {
    let proven = proven(connection)?;
    let wrong = |text: String| MeetError::Closed {
        why: Goodbye::WrongNode,
        text,
    };
    if let Some(meant) = dialled.filter(|meant| **meant != proven) {
        return Err(wrong(format!("dialled {meant}, answered by {proven}")));
    }
    if proven == shared.hello.node {
        return Err(wrong(format!("{proven} is this node's own name")));
    }
    if dialled.is_none() && !locked(&shared.admit).admits(&proven) {
        return Err(wrong(format!("{proven} is not among the peers")));
    }
    let mut send = connection.open_uni().await?;
    let hello = frames::bytes(&Frame::Hello(shared.hello.clone()));
    let hello = hello.map_err(|error| ended(connection, &error))?;
    send.write_chunk(hello)
        .await
        .map_err(|error| ended(connection, &error.into()))?;
    let mut recv = connection.accept_uni().await?;
    let frame = frames::next(&mut recv)
        .await
        .map_err(|error| ended(connection, &error))?;
    let Some(Frame::Hello(hello)) = frame else {
        let text = "control stream begins without a Hello".to_owned();
        return Err(MeetError::Closed {
            why: Goodbye::Protocol,
            text,
        });
    };
    if hello.node != proven {
        return Err(wrong(format!("{proven} calls itself {}", hello.node)));
    }
    if hello.common_version().is_none() {
        let (min, max) = (hello.min_version, hello.max_version);
        let text = format!("versions {min} to {max} there, {VERSION} here");
        return Err(MeetError::Closed {
            why: Goodbye::Version,
            text,
        });
    }
    Ok((hello, Control { send, recv }))
}

/// The node that the peer's certificate proves.
fn proven(connection: &Connection) -> Result<NodeId, MeetError> {
    let identity = connection.peer_identity();
    let chain = identity.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.and_then(|chain| certs::peer_identity(&chain).ok());
    let node = leaf.and_then(|leaf| leaf.name.node.as_str().parse().ok());
    node.ok_or_else(|| MeetError::Closed {
        why: Goodbye::WrongNode,
        text: "the certificate names no node".to_owned(),
    })
}

/// A stream of the meeting has ended: why the connection did, or what the peer broke.
fn ended(connection: &Connection, error: &LinkError) -> MeetError {
    match (connection.close_reason(), error) {
        (Some(reason), _) => reason.into(),
        (None, LinkError::Protocol(text)) => MeetError::Closed {
            why: Goodbye::Protocol,
            text: text.clone(),
        },
        (None, LinkError::Broken(_) | LinkError::Gone) => MeetError::Closed {
            why: Goodbye::Protocol,
            text: "control stream ended before its Hello".to_owned(),
        },
    }
}

/// Counts a refusal, keeps the text for `who`, and answers it.
fn failed(shared: &Shared, who: &str, refusal: &Refusal, error: &MeetError) -> String {
    let mut refusals = locked(&shared.refusals);
    match error {
        MeetError::Closed {
            why: Goodbye::WrongNode,
            text,
        } => {
            refusals.refuse(who, Gate::WrongNode, text);
        }
        MeetError::Lost(lost) => {
            if let Some(gate) = our_gate(refusal, lost) {
                refusals.refuse(who, gate, &lost.to_string());
                return format!("refused here: {gate}");
            }
            let why = shared.explain(lost);
            refusals.note(who, why.clone());
            return why;
        }
        MeetError::Closed { .. } => {
            warn!(peer = who, %error, "Meeting ended");
            refusals.note(who, error.to_string());
        }
        MeetError::Address(_) | MeetError::Setup(_) | MeetError::TimedOut | MeetError::Stopping => {
            refusals.note(who, error.to_string());
        }
    }
    error.to_string()
}

/// Raises the link, serves it, and tells the core both.
async fn serve(shared: Arc<Shared>, met: Met) {
    let Met {
        connection,
        hello,
        control,
        dialled,
    } = met;
    let link = LinkId(shared.next_link.fetch_add(1, Ordering::Relaxed));
    let address = connection.remote_address();
    let line = Arc::new(Line::new(link, &hello, connection, Arc::clone(&shared)));
    let (orders, queued) = mpsc::channel(ORDERS);
    // Before the core hears of the link, or its first orders would find none.
    locked(&shared.links).insert(
        link,
        Handle {
            line: Arc::clone(&line),
            orders,
        },
    );
    info!(peer = %line.peer, %link, %address, dialled, "Link is up");
    let greeting = hello.greeting(dialled);
    let up = Input::LinkUp {
        peer: line.peer.clone(),
        link,
        greeting,
    };
    if shared.tell(up).await.is_ok() {
        let why = link::serve(Arc::clone(&line), control, queued).await;
        info!(peer = %line.peer, %link, why, "Link is down");
        locked(&shared.links).remove(&link);
        // Without a driver nobody needs to know.
        let _ = shared.tell(link::down(&line, why)).await;
    } else {
        locked(&shared.links).remove(&link);
    }
}
