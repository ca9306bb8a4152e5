//! One segment: all that happened to it, or its bytes.

use edged_rpc::{Response, SegmentDetail, SegmentGet};

use super::{Answered, find, payload};
use crate::desk::Desk;
use crate::socket::picture::Painter;
use crate::socket::refusal::draining;
use crate::socket::wire::{Broken, Teller};

/// One segment, its deliveries, their attempts.
pub(super) async fn inspect(desk: &Desk, text: &str) -> Answered<SegmentDetail> {
    let found = find::one(desk, text).await?;
    let (node, now) = desk.look().await.map_err(|_| draining())?;
    Ok(Painter::new(desk, &node, now).detail(&found))
}

/// The words of one segment, then its bytes, then Done.
pub(super) async fn get(teller: &mut Teller, desk: &Desk, get: &SegmentGet) -> Result<(), Broken> {
    let found = async {
        let found = find::one(desk, &get.segment).await?;
        let body = payload::load(desk, &found.segment).await?;
        let (node, now) = desk.look().await.map_err(|_| draining())?;
        let rows: Vec<_> = found
            .deliveries
            .iter()
            .map(|(row, _)| row.clone())
            .collect();
        let view = Painter::new(desk, &node, now).segment(&found.segment, &rows);
        Ok((view, body))
    };
    let (view, body) = match found.await {
        Ok(found) => found,
        Err(error) => return teller.refuse(error).await,
    };
    teller.say(&Response::Segment(view)).await?;
    let sent = body.send(teller, desk).await?;
    teller.end_payload().await?;
    match sent {
        Ok(()) => teller.say(&Response::Done).await,
        Err(error) => teller.refuse(error).await,
    }
}
