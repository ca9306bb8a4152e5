//! The half that hears: requests as they come, and the bytes of puts.
//!
//! Puts are read, packed and told to the core here, so that the next is on its way while
//! the last is being made durable; their answers wait in the queue. Everything else
//! joins the queue as it was asked. Garbage ends the conversation with a last word.

use edged_rpc::{MAX_RAW, Request, Response, RpcError};
use tokio::sync::mpsc;
use tracing::warn;

use super::conversation::{Caller, Manners};
use super::put;
use super::refusal;
use super::wire::{Broken, Hearer};
use super::{access, batch};
use crate::desk::Desk;

/// What the telling half does next.
pub(super) enum Job {
    /// Say this.
    Say(Box<Response>),
    /// Wait for what becomes of a batch, and say it.
    Batch(batch::Pending),
    /// Wait for what becomes of a put, and say it.
    Put(put::Pending),
    /// Find the answer to this.
    Ask(Box<Request>),
}

/// The half that hears.
pub(super) struct Hearing<'a> {
    /// Frames of the client.
    pub(super) hearer: Hearer,
    /// Everything a put may use.
    pub(super) desk: &'a Desk,
    /// Who asks.
    pub(super) caller: Caller,
    voice: relay_core::event::Caller,
    jobs: mpsc::Sender<Job>,
    manners: &'a Manners,
}

impl<'a> Hearing<'a> {
    /// Hears `caller`; `jobs` go to the telling half.
    pub(super) fn new(
        hearer: Hearer,
        jobs: mpsc::Sender<Job>,
        desk: &'a Desk,
        (caller, voice): (Caller, relay_core::event::Caller),
        manners: &'a Manners,
    ) -> Self {
        Self {
            hearer,
            desk,
            caller,
            voice,
            jobs,
            manners,
        }
    }

    /// Hears until the client has nothing more to say, or nothing sound.
    pub(super) async fn run(mut self) {
        let Err(error) = self.listen().await else {
            return;
        };
        if let Some(no) = error.last_word() {
            warn!(uid = self.caller.uid, %error, "A client talks garbage");
            // A teller that has ended has a client that is gone.
            let _ = self.refuse(no).await;
        }
    }

    async fn listen(&mut self) -> Result<(), Broken> {
        while let Some(request) = self.hearer.words::<Request>().await? {
            let admitted = self.manners.pace.admits(self.caller.uid);
            if admitted && !self.caller.rights.allow(&request) {
                self.deny(&request).await?;
                continue;
            }
            match request {
                Request::PutBatch(_) if !admitted => self.skip_batch(refusal::too_many()).await?,
                _ if !admitted => self.refuse(refusal::too_many()).await?,
                Request::PutBatch(batch) => batch::hear(self, batch).await?,
                Request::Put(put) => put::hear(self, put).await?,
                Request::SegmentList(_)
                | Request::SegmentInspect(_)
                | Request::SegmentGet(_)
                | Request::InboxList(_)
                | Request::InboxGet(_)
                | Request::InboxTake(_)
                | Request::InboxConfirm(_)
                | Request::RelayStatus(_)
                | Request::RelayList(_)
                | Request::RelayWhy(_)
                | Request::RelayWhyAll
                | Request::QuarantineList(_)
                | Request::PeerList(_)
                | Request::Version
                | Request::Counters
                | Request::RelayBandwidth(_)
                | Request::LaneBudget(_)
                | Request::RelayPause(_)
                | Request::RelayResume(_)
                | Request::RelayAct(_)
                | Request::DeadletterInspect(_)
                | Request::PeerInspect(_)
                | Request::PeerKick(_)
                | Request::PeerDrop(_)
                | Request::LaneList(_)
                | Request::RelayConfig
                | Request::ConfigShow(_)
                | Request::ConfigCheck(_)
                | Request::ConfigReload
                | Request::Audit(_)
                | Request::AuditPrune(_)
                | Request::InboxWait(_)
                | Request::InboxRefuse(_) => self.tell(Job::Ask(Box::new(request))).await?,
            }
        }
        Ok(())
    }

    /// Says that this caller may not, and has it audited.
    async fn deny(&self, request: &Request) -> Result<(), Broken> {
        let verb = access::verb(request);
        self.manners.denials.tell(self.voice.clone(), verb).await;
        self.refuse(refusal::not_an_operator(self.caller.uid, verb))
            .await
    }

    /// Hands `job` to the telling half, when there is room in the window.
    pub(super) async fn tell(&self, job: Job) -> Result<(), Broken> {
        self.jobs.send(job).await.map_err(|_| Broken::HungUp)
    }

    /// Says one thing in its turn.
    pub(super) async fn say(&self, response: Response) -> Result<(), Broken> {
        self.tell(Job::Say(Box::new(response))).await
    }

    /// Says no in its turn.
    pub(super) async fn refuse(&self, error: RpcError) -> Result<(), Broken> {
        self.say(Response::Error(error)).await
    }

    /// Passes over the bodies of a batch that is refused as a whole.
    pub(super) async fn skip_batch(&mut self, error: RpcError) -> Result<(), Broken> {
        self.hearer.raw(MAX_RAW).await?;
        self.refuse(error).await
    }
}
