//! One client: greeting, then two halves of one task.
//!
//! One half hears and may run ahead of the answers by
//! [`WINDOW_BATCHES`]; the other tells, in the order of the
//! requests. When the teller ends, all ends; when the hearer ends, what was asked is
//! still answered.

use std::sync::Arc;
use std::time::Duration;

use edged_rpc::{
    ErrorKind, Greeting, Hello, OLDEST_VERSION, RpcError, VERSION, WINDOW_BATCHES, Welcome,
};
use relay_core::time::Unix;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::access::Rights;
use super::denials::Denials;
use super::hear::{Hearing, Job};
use super::pace::Pace;
use super::serve::Telling;
use super::wire::{Broken, Hearer, Teller};
use crate::desk::Desk;

/// The audit keeps so many characters of an operator's label.
const OPERATOR: usize = 128;
/// And so many of a reason: a paragraph.
const REASON: usize = 1024;
/// How long a client may take to say Hello.
const HELLO: Duration = Duration::from_secs(10);
/// How long answers that are known may take to leave once the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait before a trouble of our own host is tried again.
pub(super) const BREATH: Duration = Duration::from_millis(100);

/// Who asks, as the kernel proves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The user.
    pub(super) uid: u32,
    /// What it may do.
    pub(super) rights: Rights,
}

impl Caller {
    /// Why this caller may not come in, if it may not.
    pub(super) fn refusal(self) -> Option<RpcError> {
        match self.rights {
            Rights::Member | Rights::Operator => None,
            Rights::None => Some(
                RpcError::new(
                    ErrorKind::Permission,
                    "permission_denied",
                    format!("uid {} is not in the group of this socket", self.uid),
                )
                .with_hint("join the group that [rpc] group names, or ask as root"),
            ),
        }
    }

    /// This caller as the audit knows it.
    pub(super) fn voice(self, hello: &Hello) -> relay_core::event::Caller {
        let cut = |text: &Option<String>, most| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            text.map(|text| text.chars().take(most).collect())
        };
        relay_core::event::Caller {
            uid: self.uid,
            operator: cut(&hello.operator, OPERATOR),
            reason: cut(&hello.reason, REASON),
        }
    }
}

/// What all conversations share.
pub(super) struct Manners {
    /// Requests per second.
    pub(super) pace: Pace,
    /// When the socket began to serve.
    pub(super) started: Unix,
    /// One question of the ledger at a time.
    pub(super) questions: Arc<Semaphore>,
    /// Whoever is refused is told of here.
    pub(super) denials: Denials,
    /// The daemon stops.
    pub(super) stop: CancellationToken,
}

/// Talks with one client to the end; `welcome` says whether it may come in.
pub(super) async fn run(
    stream: UnixStream,
    caller: Caller,
    welcome: Result<(), RpcError>,
    desk: Desk,
    manners: &Manners,
) {
    let (read, write) = stream.into_split();
    let (mut hearer, mut teller) = (Hearer::new(read), Teller::new(write));
    let greeted = tokio::select! {
        greeted = greet((&mut hearer, &mut teller), welcome, caller, &desk, &manners.denials) => greeted,
        () = manners.stop.cancelled() => return,
    };
    let hello = match greeted {
        Ok(Some(hello)) => hello,
        Ok(None) => return,
        Err(error) => return debug!(uid = caller.uid, %error, "Client did not say hello"),
    };
    let software = hello.software.escape_default();
    debug!(uid = caller.uid, %software, "Client is here");
    let voice = caller.voice(&hello);
    let (jobs, queue) = mpsc::channel::<Job>(WINDOW_BATCHES);
    let hearing = Hearing::new(hearer, jobs, &desk, (caller, voice.clone()), manners);
    let telling = Telling::new(teller, &desk, voice, manners);
    talk(hearing, telling, queue, caller, manners).await;
    manners.pace.forget_idle();
}

async fn talk(
    hearing: Hearing<'_>,
    telling: Telling<'_>,
    queue: mpsc::Receiver<Job>,
    caller: Caller,
    manners: &Manners,
) {
    let mut telling = std::pin::pin!(telling.run(queue));
    let told = tokio::select! {
        told = &mut telling => Some(told),
        () = hearing.run() => None,
        () = manners.stop.cancelled() => None,
    };
    // The hearer is gone, and with it the end of the queue: what is left is answered.
    let told = match told {
        Some(told) => told,
        None => tokio::select! {
            told = telling => told,
            () = last_words(&manners.stop) => Ok(()),
        },
    };
    match told {
        Ok(()) | Err(Broken::HungUp) => debug!(uid = caller.uid, "Client is gone"),
        Err(error) => warn!(uid = caller.uid, %error, "A client's connection ends"),
    }
}

async fn last_words(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Hears Hello, answers it; `None` when the conversation ends with that.
async fn greet(
    (hearer, teller): (&mut Hearer, &mut Teller),
    welcome: Result<(), RpcError>,
    caller: Caller,
    desk: &Desk,
    denials: &Denials,
) -> Result<Option<Hello>, Broken> {
    let hello = match tokio::time::timeout(HELLO, hearer.words::<Hello>()).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(error)) => {
            if let Some(no) = error.last_word() {
                teller.say(&Greeting::Refused(no)).await?;
            }
            return Err(error);
        }
        Err(_) => return Err(Broken::TooSlow),
    };
    let version = hello.version.min(VERSION);
    if let Err(no) = welcome.and_then(|()| spoken(version)) {
        debug!(code = no.code, "Client is refused");
        if no.kind == ErrorKind::Permission {
            denials.tell(caller.voice(&hello), "connect").await;
        }
        teller.say(&Greeting::Refused(no)).await?;
        return Ok(None);
    }
    let welcome = Welcome {
        version,
        node: desk.config.node.id.as_str().to_owned(),
        software: concat!("edged ", env!("CARGO_PKG_VERSION")).to_owned(),
        boot_epoch: desk.epoch.0,
    };
    teller.say(&Greeting::Welcome(welcome)).await?;
    Ok(Some(hello))
}

fn spoken(version: u16) -> Result<(), RpcError> {
    if version >= OLDEST_VERSION {
        return Ok(());
    }
    let found = format!(
        "version {version} of the conversation, the oldest spoken here is {OLDEST_VERSION}"
    );
    let error = RpcError::new(ErrorKind::Unsupported, "version_too_old", found);
    Err(error.with_hint("use the edgectl that came with this edged"))
}
