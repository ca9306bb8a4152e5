//! One put, streamed: announced, admitted, read, told to the core.
//!
//! What the core would refuse after the bytes it refuses before them. A refusal that
//! comes up while the bytes are on their way is said after the empty frame, so that the
//! conversation goes on.

use edged_rpc::{Accepted, Digest as RpcDigest, Durability, Id, Response, RpcError};
use relay_core::change::KeyName;
use relay_core::event::Input;
use relay_core::limits;
use std::sync::Arc;

use super::hear::{Hearing, Job};
use super::intake::Intake;
use super::options;
use super::refusal;
use super::wire::Broken;
use crate::desk::Desk;
use crate::event::{Answer, Event};
use crate::single::{self, Mark, Order, Taken, Told, Untold};

/// Bytes read and thrown away after a refusal, before the conversation is ended.
const WASTE: u64 = 64 << 20;

/// A put told to the core and not yet answered.
pub(super) struct Pending(Told);

/// Announces `put`, reads its bytes, tells the core.
pub(super) async fn hear(hearing: &mut Hearing<'_>, put: edged_rpc::Put) -> Result<(), Broken> {
    let edged_rpc::Put { options, key, len } = put;
    let (order, key) = match check(hearing, options, key) {
        Ok(sound) => sound,
        Err(error) => return hearing.refuse(error).await,
    };
    let most = hearing.desk.most();
    if let Err(error) = announce(hearing.desk, &order, len.unwrap_or(0), most).await {
        return hearing.refuse(error).await;
    }
    hearing.say(Response::Go).await?;
    let intake = Intake::new(hearing.desk, &order, len, most);
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
    let mark = Mark { key, spooled: None };
    match single::put(desk, order, mark, taken).await {
        Ok(told) => Ok(Pending(told)),
        Err(Untold::Staging(error)) => Err(refusal::staging(&error)),
        Err(Untold::GoingDown(_)) => Err(refusal::draining()),
    }
}

impl Pending {
    /// Waits for the core and gives the answer of the put.
    pub(super) async fn answer(self, durability: Durability) -> Response {
        let Told { id, digest, answer } = self.0;
        let (id, digest, known) = match answer.await {
            Ok(Answer::Accepted) => (id, digest, false),
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
