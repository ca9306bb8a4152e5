//! The half that tells: each answer in its turn.
//!
//! Answers of puts are waited for; questions are asked of the ledger's readers, the
//! journal and the driver when their turn comes. A question that fails is an answer;
//! only a client that takes nothing ends the half early.
//!
//! | file | answers |
//! |---|---|
//! | `list` | segments, deliveries, inbox: pages |
//! | `segment` | one segment: inspect, get |
//! | `inbox` | get, take, confirm |
//! | `status` | status, peers, counters, version |
//! | `order`, `act`, `deadletter` | what operators order |
//! | `setup` | lanes, one peer, how the relay and the daemon are set |
//! | `wait` | arrivals, as soon as there are any |
//! | `audit` | entries, sums, whether the chain holds, pruning |
//! | `clerk` | the way to the ledger, one question at a time |
//! | `why` | why deliveries do not move |
//! | `keeping` | damage, spools and sink |
//! | `find` | from what people type to what the ledger numbers |
//! | `payload` | the bytes of one member |

mod act;
mod audit;
mod clerk;
mod deadletter;
mod find;
mod inbox;
mod keeping;
mod list;
mod order;
mod payload;
mod segment;
mod selection;
mod setup;
mod status;
mod wait;
mod why;

use edged_rpc::{Durability, Request, Response, RpcError};
use relay_core::event::Caller;
use relay_core::time::Unix;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::conversation::Manners;
use super::hear::Job;
use super::wire::{Broken, Teller};
use super::{picture, refusal};
use crate::desk::Desk;
use clerk::Clerk;
use order::Orders;

/// A question's answer, or why there is none.
type Answered<T> = Result<T, RpcError>;

/// The half that tells.
pub(super) struct Telling<'a> {
    teller: Teller,
    clerk: Clerk<'a>,
    voice: Caller,
    stop: &'a CancellationToken,
    started: Unix,
    durability: Durability,
}

impl<'a> Telling<'a> {
    /// Tells one client.
    pub(super) fn new(teller: Teller, desk: &'a Desk, voice: Caller, manners: &'a Manners) -> Self {
        Self {
            teller,
            clerk: Clerk::new(desk, &manners.questions),
            voice,
            stop: &manners.stop,
            started: manners.started,
            durability: picture::durability(desk.config.storage.durability),
        }
    }

    /// Does `queue` in order, to its end.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<(), Broken> {
        while let Some(job) = queue.recv().await {
            let response = match job {
                Job::Say(response) => *response,
                Job::Batch(pending) => pending.answer(self.durability).await,
                Job::Put(pending) => pending.answer(self.durability).await,
                Job::Ask(request) => {
                    self.ask(*request).await?;
                    continue;
                }
            };
            self.teller.say(&response).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, request: Request) -> Result<(), Broken> {
        let clerk = &self.clerk;
        let voice = &self.voice;
        let orders = Orders { clerk, voice };
        let answered = match request {
            Request::RelayAct(act) => return act::act(&mut self.teller, &orders, act).await,
            Request::Audit(question) => audit::ask(&orders, question).await,
            Request::AuditPrune(what) => {
                audit::prune(&orders, what).await.map(Response::AuditPruned)
            }
            Request::RelayBandwidth(what) => orders.bandwidth(what).await.map(Response::Limits),
            Request::LaneBudget(what) => orders.lane_budget(what).await.map(Response::Limits),
            Request::RelayPause(what) => orders.pause(what).await.map(Response::Paused),
            Request::RelayResume(what) => orders.resume(what).await.map(Response::Changed),
            Request::PeerKick(what) => orders.kick(what).await.map(Response::Changed),
            Request::PeerDrop(what) => orders.drop(what).await.map(Response::Changed),
            Request::DeadletterInspect(which) => {
                let entry = deadletter::inspect(&orders, &which).await;
                entry.map(Response::Deadletter)
            }
            Request::ConfigCheck(file) => setup::check(clerk, file).await.map(Response::Reload),
            Request::ConfigReload => setup::reload(&orders).await.map(Response::Reload),
            Request::ConfigShow(which) => {
                let page = setup::config(clerk, &which.page).await;
                page.map(Response::Config)
            }
            Request::RelayConfig => {
                let view = setup::relay(clerk).await;
                view.map(Response::RelayConfig)
            }
            Request::LaneList(which) => {
                let page = setup::lanes(clerk, &which.page).await;
                page.map(Response::Lanes)
            }
            Request::PeerInspect(which) => {
                let detail = setup::peer(clerk, &which.peer).await;
                detail.map(Response::PeerDetail)
            }
            Request::InboxWait(which) => {
                let page = wait::wait(clerk, which, self.stop).await;
                page.map(Response::Inbox)
            }
            Request::SegmentGet(get) => return segment::get(&mut self.teller, clerk, &get).await,
            Request::InboxGet(get) => return inbox::get(&mut self.teller, clerk, &get).await,
            Request::InboxTake(take) => return inbox::take(&mut self.teller, clerk, &take).await,
            Request::RelayWhy(which) => why::segment(clerk, &which).await.map(Response::Why),
            Request::QuarantineList(which) => {
                let page = keeping::quarantine(clerk, &which.page).await;
                page.map(Response::Quarantine)
            }
            Request::RelayWhyAll => why::all(clerk).await.map(Response::Blocked),
            Request::SegmentList(which) => {
                list::segments(clerk, which).await.map(Response::Segments)
            }
            Request::SegmentInspect(which) => {
                let detail = segment::inspect(clerk, &which.segment).await;
                detail.map(Response::SegmentDetail)
            }
            Request::InboxList(which) => list::inbox(clerk, which).await.map(Response::Inbox),
            Request::InboxConfirm(which) => {
                inbox::confirm(clerk, which).await.map(Response::Confirmed)
            }
            Request::InboxRefuse(which) => {
                let refused = inbox::refuse(clerk, which).await;
                refused.map(Response::Confirmed)
            }
            Request::RelayStatus(which) => {
                let report = status::report(clerk, self.started, which.books).await;
                report.map(Response::Status)
            }
            Request::RelayList(which) => list::deliveries(clerk, which)
                .await
                .map(Response::Deliveries),
            Request::PeerList(which) => {
                status::peers(clerk, &which.page).await.map(Response::Peers)
            }
            Request::Version => Ok(Response::Version(status::version(clerk, self.started))),
            Request::Counters => status::counters(clerk).await.map(Response::Counters),
            // Both are heard, not asked: the hearing half never queues them.
            Request::Put(_) | Request::PutBatch(_) => Err(refusal::failed(
                "internal",
                "a put was queued as a question",
            )),
        };
        let response = answered.unwrap_or_else(Response::Error);
        self.teller.say(&response).await
    }
}
