//! The local socket: where it stands, who may come in, one task for each who does.
//!
//! [`Socket::bind`] takes the path, and only from a daemon that is gone;
//! [`Socket::serve`] greets clients until it is told to stop and has waited for the
//! last of them. What is said is `edged-rpc`'s; what becomes of it is asked of the
//! [`Desk`], and nothing is decided here.
//!
//! A client is who the kernel says (`SO_PEERCRED`). Connections, frames, requests per
//! second and memory are bounded, and reaching a bound is an answer. A client that is
//! slow, silent or talks garbage ends its own conversation, never another's, never the
//! daemon.
//!
//! | file | what it is |
//! |---|---|
//! | `place` | the path: stale, taken, ours; mode and group |
//! | `access` | from a uid to what it may do |
//! | `pace`, `places` | requests and calls per second, and connections, of one uid |
//! | `denials` | who was refused, for the audit |
//! | `wire` | frames, both ways; what ends a conversation |
//! | `conversation` | greeting, then two halves: one hears, one tells |
//! | `hear` | requests as they come; the bytes of puts |
//! | `options`, `batch`, `put`, `intake` | from the words and bytes of a put to what the core hears |
//! | `refusal` | how the daemon says no |
//! | `serve` | each question and its answer |
//! | `picture` | from the core's types to the words of the socket |

mod access;
mod batch;
mod conversation;
mod denials;
mod hear;
mod intake;
mod options;
mod pace;
pub(crate) mod picture;
mod place;
mod places;
mod put;
pub(crate) mod refusal;
mod serve;
mod wire;

use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::config::Rpc;
use crate::desk::Desk;
use access::{Access, Rights};
use conversation::{Caller, Manners};
use pace::Pace;
use place::Place;
use places::Places;

pub use denials::Closing;
pub use place::SocketError;

/// Callers being judged at once: who they are may be asked of a slow directory.
const JUDGED: usize = 32;
/// Refused callers who are heard and told why at one time. Each may be silent for as long
/// as a greeting may take: beyond these they are hung up on, or one of them could hold
/// every file handle of the daemon.
const TOLD: usize = 16;

/// The socket, bound and not yet answered at.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    place: Place,
    access: Access,
    connections: usize,
}

impl Socket {
    /// Takes the path of `rpc`: mode 0660, group `rpc.group` where there is one. What
    /// lies there is replaced only if it is a socket at which nobody answers. Called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`]: something else lies there, somebody answers, or the file system
    /// refuses.
    pub fn bind(rpc: &Rpc) -> Result<Self, SocketError> {
        let (listener, place) = place::take(&rpc.socket, &rpc.group)?;
        Ok(Self {
            listener,
            place,
            access: Access::new(&rpc.group, &rpc.operators),
            connections: rpc.max_connections as usize,
        })
    }

    /// Serves clients until `stop`; returns when the last of their tasks has ended. The
    /// path is given back then. `closing` is the word before that: see [`Closing`].
    pub async fn serve(self, desk: Desk, closing: Closing, stop: CancellationToken) {
        let started = crate::clock::now().unix;
        let (denials, auditor) = denials::pair(closing, stop.clone());
        let doors = Arc::new(Doors {
            access: self.access,
            places: Places::new(self.connections),
            told: Semaphore::new(TOLD),
            manners: Manners {
                pace: Pace::new(),
                started,
                questions: Arc::new(Semaphore::new(1)),
                denials,
                stop: stop.clone(),
            },
        });
        let judged = Arc::new(Semaphore::new(JUDGED));
        let clients = TaskTracker::new();
        let writer = desk.clone();
        clients.spawn(auditor.run(move |denied| denials::record(writer.clone(), denied)));
        loop {
            let client = tokio::select! {
                client = accept(&self.listener, &judged) => client,
                () = stop.cancelled() => break,
            };
            let (doors, desk) = (Arc::clone(&doors), desk.clone());
            clients.spawn(doors.meet(client.0, client.1, desk));
        }
        clients.close();
        clients.wait().await;
        drop(self.place);
    }
}

/// The next client, and leave to judge it. An error of accept is about one client or
/// passes by itself: out of files, it waits for one to be given back.
async fn accept(
    listener: &UnixListener,
    judged: &Arc<Semaphore>,
) -> (UnixStream, OwnedSemaphorePermit) {
    loop {
        let leave = Arc::clone(judged).acquire_owned().await;
        let leave = leave.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, leave),
            Err(error) => {
                warn!(%error, "A client cannot be let in");
                tokio::time::sleep(conversation::BREATH).await;
            }
        }
    }
}

/// What all clients pass.
struct Doors {
    access: Access,
    places: Arc<Places>,
    /// Refused callers who are told why.
    told: Semaphore,
    manners: Manners,
}

impl Doors {
    /// One client, from its credentials to its end.
    async fn meet(self: Arc<Self>, stream: UnixStream, judging: OwnedSemaphorePermit, desk: Desk) {
        let (uid, gid) = match stream.peer_cred() {
            Ok(known) => (known.uid(), known.gid()),
            Err(error) => return debug!(%error, "A client has no credentials"),
        };
        // Who a caller is may be a costly question: one that knocks too often is not asked.
        let may_ask = self.manners.pace.lets_in(uid);
        let asked = async {
            match may_ask {
                true => self.access.rights(uid, gid).await,
                false => Rights::None,
            }
        };
        let rights = tokio::select! {
            rights = asked => rights,
            () = self.manners.stop.cancelled() => return,
        };
        drop(judging);
        let place = self.places.take(uid, rights.operates());
        let caller = Caller { uid, rights };
        let welcome = match (caller.refusal(), place.is_some()) {
            _ if !may_ask => Err(refusal::too_many_calls()),
            (Some(no), _) => Err(no),
            (None, false) => Err(refusal::too_many_connections()),
            (None, true) => Ok(()),
        };
        let told = match welcome {
            Ok(()) => None,
            Err(_) => match self.told.try_acquire() {
                Ok(told) => Some(told),
                Err(_) => {
                    return debug!(uid, "A refused client is hung up on: too many are told why");
                }
            },
        };
        conversation::run(stream, caller, welcome, desk, &self.manners).await;
        drop((place, told));
    }
}
