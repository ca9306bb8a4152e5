//! Batched puts: the words, one raw frame of bodies, packs.
//!
//! Room in memory is taken before the bodies are read, and goes with each pack until it
//! is durable. Bodies are copied once, from the frame into their pack. A pack is told to
//! the core as soon as it is full; the batch is answered when the last of its packs is.

use bytes::BytesMut;
use edged_rpc::frame::check_lengths;
use edged_rpc::{AcceptedBatch, Durability, Id, Ids, PutBatch, Refusal, Response, RpcError};
use relay_core::event::{Input, Put, Shape};
use relay_core::id::SegmentId;
use relay_core::limits::SMALL_SEGMENT;
use relay_core::pack::{self, Builder, Built};
use relay_core::segment::Digest;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::hear::{Hearing, Job};
use super::options;
use super::refusal;
use super::wire::Broken;
use crate::desk::Desk;
use crate::event::{Answer, Event};
use crate::single::Order;
use crate::staging::Staged;

/// A batch told to the core and not yet answered.
pub(super) struct Pending {
    members: usize,
    packs: Vec<PendingPack>,
}

/// One pack of it: a run of ids, rising ([`Desk::fresh_id`]).
struct PendingPack {
    first: SegmentId,
    count: u32,
    answer: Result<oneshot::Receiver<Answer>, RpcError>,
}

/// Reads the bodies of `batch`, packs them, tells the core.
pub(super) async fn hear(hearing: &mut Hearing<'_>, batch: PutBatch) -> Result<(), Broken> {
    let PutBatch { options, lengths } = batch;
    let total = match check_lengths(&lengths) {
        Ok(total) => total,
        Err(error) => {
            let error = refusal::invalid("bad_batch", error.to_string());
            return hearing.skip_batch(error).await;
        }
    };
    let order = match options::check(&hearing.desk.config, options) {
        Ok(order) => order,
        Err(error) => return hearing.skip_batch(error).await,
    };
    let entry = pack::single_table(SegmentId([0; 16]), Digest::default(), 0, &order.meta).len();
    let room = take_room(hearing.desk, total + lengths.len() * entry).await;
    let bodies = hearing.hearer.raw(total).await?;
    if bodies.len() != total {
        let found = format!(
            "bodies of {} B, the lengths add up to {total}",
            bodies.len()
        );
        return hearing.refuse(refusal::invalid("bad_batch", found)).await;
    }
    let pending = put_all(hearing.desk, &order, &lengths, bodies, room).await;
    hearing.tell(Job::Batch(pending)).await
}

/// Room for `bytes`, or all there is: more than that is one batch of extreme metadata.
async fn take_room(desk: &Desk, bytes: usize) -> OwnedSemaphorePermit {
    let bytes = bytes.min(Desk::room_bytes());
    let permits = u32::try_from(bytes).expect("the room is smaller than 4 GiB");
    let room = Arc::clone(&desk.room).acquire_many_owned(permits).await;
    room.expect("the room is never closed")
}

async fn put_all(
    desk: &Desk,
    order: &Order,
    lengths: &[u32],
    bodies: BytesMut,
    room: OwnedSemaphorePermit,
) -> Pending {
    let mut sending = Sending {
        desk,
        order,
        room,
        builder: Builder::new(),
        packs: Vec::new(),
    };
    let mut rest: &[u8] = &bodies;
    for length in lengths {
        let (body, after) = rest.split_at(*length as usize);
        rest = after;
        sending.add(body).await;
    }
    sending.flush().await;
    Pending {
        members: lengths.len(),
        packs: sending.packs,
    }
}

/// A batch on its way to the core, pack by pack.
struct Sending<'a> {
    desk: &'a Desk,
    order: &'a Order,
    room: OwnedSemaphorePermit,
    builder: Builder,
    packs: Vec<PendingPack>,
}

impl Sending<'_> {
    async fn add(&mut self, body: &[u8]) {
        let large = body.len() as u64 > SMALL_SEGMENT;
        if large || !self.builder.fits(body.len() as u64, &self.order.meta) {
            self.flush().await;
        }
        let fresh = if self.builder.is_empty() {
            self.desk.fresh_id()
        } else {
            SegmentId([0; 16])
        };
        self.builder.push(fresh, &self.order.meta, body);
        if large {
            // A large segment travels alone.
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let Some(built) = std::mem::take(&mut self.builder).finish() else {
            return;
        };
        let length = built.bytes.len().min(self.room.num_permits());
        let room = self.room.split(length);
        let pack = begin(self.desk, self.order, built, room).await;
        self.packs.push(pack);
    }
}

async fn begin(
    desk: &Desk,
    order: &Order,
    built: Built,
    room: Option<OwnedSemaphorePermit>,
) -> PendingPack {
    let (put, staged) = (desk.fresh_put(), desk.staging.fresh());
    let table = &built.bytes[..built.table_len as usize];
    let shape = Shape {
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        table_len: built.table_len,
        table: Digest::of(table),
        first: built.first,
        last: built.last,
    };
    let input = Input::Put(Put {
        put,
        staged,
        shape,
        lane: order.lane.clone(),
        to: Arc::clone(&order.to),
        ttl: order.ttl,
        key: None,
        spooled: None,
    });
    let event = Event {
        input,
        staged: Some((staged, Staged::Memory(built.bytes))),
        room: room.map(Into::into),
    };
    let answer = desk.begin_put(event, put).await;
    PendingPack {
        first: shape.first,
        count: shape.count,
        answer: answer.map_err(|_| refusal::draining()),
    }
}

impl Pending {
    /// Waits for the core and gives the answer of the batch.
    pub(super) async fn answer(self, durability: Durability) -> Response {
        let mut ids = Vec::with_capacity(self.members);
        let mut refused: Vec<Refusal> = Vec::new();
        for pack in self.packs {
            let verdict = match pack.answer {
                Ok(answer) => judge(answer.await),
                Err(error) => Err(error),
            };
            let from = ids.len();
            match verdict {
                Ok(()) => {
                    let run = (0..u64::from(pack.count)).map(|n| Id(pack.first.after(n).0));
                    ids.extend(run);
                }
                Err(error) => {
                    ids.resize(from + pack.count as usize, Id::NIL);
                    note(&mut refused, from..ids.len(), error);
                }
            }
        }
        match refused.as_mut_slice() {
            [all] if all.members.len() == ids.len() => Response::Error(all.error.clone()),
            _ => Response::AcceptedBatch(AcceptedBatch {
                ids: Ids(ids),
                durability,
                refused,
            }),
        }
    }
}

fn judge(answer: Result<Answer, oneshot::error::RecvError>) -> Result<(), RpcError> {
    match answer {
        Ok(Answer::Accepted) => Ok(()),
        Ok(Answer::Refused(why)) => Err(refusal::refused(why)),
        // Neither an announcement nor a key was in it.
        Ok(Answer::Admitted | Answer::Known(..)) | Err(_) => Err(refusal::unknown()),
    }
}

/// Equal reasons stand together.
fn note(refused: &mut Vec<Refusal>, members: std::ops::Range<usize>, error: RpcError) {
    let members = members.filter_map(|member| u32::try_from(member).ok());
    match refused.iter_mut().find(|refusal| refusal.error == error) {
        Some(refusal) => refusal.members.extend(members),
        None => refused.push(Refusal {
            members: members.collect(),
            error,
        }),
    }
}
