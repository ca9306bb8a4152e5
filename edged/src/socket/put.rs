//! One put, streamed: announced, admitted, read, told to the core.
//!
//! What the core would refuse after the bytes it refuses before them. A refusal that
//! comes up while the bytes are on their way is said after the empty frame, so that the
//! conversation goes on.

use edged_rpc::{Accepted, Digest as RpcDigest, Durability, Id, Response, RpcError};
use relay_core::change::KeyName;
use relay_core::event::{Input, Put, Shape};
use relay_core::id::SegmentId;
use relay_core::limits;
use relay_core::pack::single_table;
use relay_core::segment::Digest;
use std::sync::Arc;
use tokio::sync::oneshot;

use super::hear::{Hearing, Job};
use super::intake::{Intake, Taken};
use super::options::{self, Order};
use super::refusal;
use super::wire::Broken;
use crate::config::Config;
use crate::desk::Desk;
use crate::event::{Answer, Event};
use crate::staging::Staged;

/// Bytes read and thrown away after a refusal, before the conversation is ended.
const WASTE: u64 = 64 << 20;

/// A put told to the core and not yet answered.
pub(super) struct Pending {
    id: SegmentId,
    digest: Digest,
    answer: oneshot::Receiver<Answer>,
}

/// Announces `put`, reads its bytes, tells the core.
pub(super) async fn hear(hearing: &mut Hearing<'_>, put: edged_rpc::Put) -> Result<(), Broken> {
    let edged_rpc::Put { options, key, len } = put;
    let (order, key) = match check(hearing, options, key) {
        Ok(sound) => sound,
        Err(error) => return hearing.refuse(error).await,
    };
    let most = most(&hearing.desk.config);
    if let Err(error) = announce(hearing.desk, &order, len.unwrap_or(0), most).await {
        return hearing.refuse(error).await;
    }
    hearing.say(Response::Go).await?;
    let intake = Intake::new(hearing.desk, &order.meta, len, most);
    let taken = match intake.fill(&mut hearing.hearer).await? {
        Ok(taken) => taken,
        Err(refused) => {
            if !refused.ended {
                read_on(hearing).await?;
            }
            return hearing.refuse(refused.error).await;
        }
    };
    match begin(hearing.desk, &order, key, taken).await {
        Ok(pending) => hearing.tell(Job::Put(pending)).await,
        Err(error) => hearing.refuse(error).await,
    }
}

fn check(
    hearing: &Hearing<'_>,
    options: edged_rpc::PutOptions,
    key: Option<String>,
) -> Result<(Order, Option<KeyName>), RpcError> {
    let order = options::check(&hearing.desk.config, options)?;
    let uid = hearing.caller.uid;
    let key = match key {
        Some(key) if (1..=limits::MAX_KEY).contains(&key.len()) => Some(KeyName { uid, key }),
        Some(key) => {
            let found = format!(
                "key of {} B, it may have 1 to {}",
                key.len(),
                limits::MAX_KEY
            );
            return Err(refusal::invalid("bad_key", found));
        }
        None => None,
    };
    Ok((order, key))
}

/// The largest put, as the daemon tells the core: a quarter of the ceiling.
fn most(config: &Config) -> u64 {
    (config.storage.max_bytes.0 / 4).min(limits::MAX_SEGMENT)
}

async fn announce(desk: &Desk, order: &Order, length: u64, most: u64) -> Result<(), RpcError> {
    if length > most {
        return Err(refusal::too_large(length, most));
    }
    let put = desk.fresh_put();
    let input = Input::Announced {
        put,
        length,
        lane: order.lane.clone(),
        to: Arc::clone(&order.to),
    };
    match desk.put(Event::from(input), put).await {
        Ok(Answer::Admitted) => Ok(()),
        Ok(Answer::Refused(why)) => Err(refusal::refused(why)),
        Ok(Answer::Accepted | Answer::Known(..)) | Err(_) => Err(refusal::draining()),
    }
}

/// Passes over what is left of a payload, up to the empty frame.
async fn read_on(hearing: &mut Hearing<'_>) -> Result<(), Broken> {
    let mut left = WASTE;
    loop {
        let chunk = hearing.hearer.chunk().await?.len() as u64;
        match left.checked_sub(chunk) {
            _ if chunk == 0 => return Ok(()),
            Some(rest) => left = rest,
            None => return Err(Broken::TooMuch),
        }
    }
}

async fn begin(
    desk: &Desk,
    order: &Order,
    key: Option<KeyName>,
    taken: Taken,
) -> Result<Pending, RpcError> {
    let id = desk.fresh_id();
    let (put, staged) = (desk.fresh_put(), desk.staging.fresh());
    let (digest, length) = (taken.digest(), taken.length());
    let table = single_table(id, digest, length, &order.meta);
    let shape = Shape {
        count: 1,
        bytes: length,
        table_len: u32::try_from(table.len()).expect("metadata is bounded"),
        table: Digest::of(&table),
        first: id,
        last: id,
    };
    let (bytes, room) = match taken {
        Taken::Memory {
            mut bytes, room, ..
        } => {
            bytes[..table.len()].copy_from_slice(&table);
            (Staged::Memory(bytes.freeze()), room)
        }
        Taken::File(file) => {
            let name = file.finish().await;
            let name = name.map_err(|error| refusal::staging(&error))?;
            (Staged::File { table, name }, None)
        }
    };
    let input = Input::Put(Put {
        put,
        staged,
        shape,
        lane: order.lane.clone(),
        to: Arc::clone(&order.to),
        ttl: order.ttl,
        key: key.map(|key| (key, digest)),
    });
    let event = Event {
        input,
        staged: Some((staged, bytes)),
        room: room.map(Into::into),
    };
    let answer = desk.begin_put(event, put).await;
    let answer = answer.map_err(|_| refusal::draining())?;
    Ok(Pending { id, digest, answer })
}

impl Pending {
    /// Waits for the core and gives the answer of the put.
    pub(super) async fn answer(self, durability: Durability) -> Response {
        let (id, digest, known) = match self.answer.await {
            Ok(Answer::Accepted) => (self.id, self.digest, false),
            Ok(Answer::Known(id, digest)) => (id, digest, true),
            Ok(Answer::Refused(why)) => return Response::Error(refusal::refused(why)),
            Ok(Answer::Admitted) | Err(_) => return Response::Error(refusal::unknown()),
        };
        Response::Accepted(Accepted {
            segment_id: Id(id.0),
            durability,
            digest: RpcDigest(digest.0),
            known,
        })
    }
}
