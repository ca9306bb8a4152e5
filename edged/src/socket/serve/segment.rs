//! One segment: all that happened to it, or its bytes.

use edged_rpc::{Response, SegmentDetail, SegmentGet};

use super::clerk::Clerk;
use super::{Answered, find, payload};
use crate::socket::picture::Painter;
use crate::socket::refusal::draining;
use crate::socket::wire::{Broken, Teller};

/// One segment, its deliveries, their attempts.
pub(super) async fn inspect(clerk: &Clerk<'_>, text: &str) -> Answered<SegmentDetail> {
    let found = find::one(clerk, text).await?;
    let rows = found.deliveries.iter().map(|(row, _)| row.clone());
    let waits = clerk.waits(rows.collect()).await;
    let (waits, node, now) = waits.map_err(|_| draining())?;
    Ok(Painter::new(clerk, &node, now).detail(&found, &waits))
}

/// The words of one segment, then its bytes, then Done.
pub(super) async fn get(
    teller: &mut Teller,
    clerk: &Clerk<'_>,
    get: &SegmentGet,
) -> Result<(), Broken> {
    let found = async {
        let found = find::one(clerk, &get.segment).await?;
        let body = payload::load(clerk, &found.segment).await?;
        let (node, now) = clerk.look().await.map_err(|_| draining())?;
        let rows: Vec<_> = found
            .deliveries
            .iter()
            .map(|(row, _)| row.clone())
            .collect();
        let view = Painter::new(clerk, &node, now).segment(&found.segment, &rows);
        Ok((view, body))
    };
    let (view, body) = match found.await {
        Ok(found) => found,
        Err(error) => return teller.refuse(error).await,
    };
    teller.say(&Response::Segment(view)).await?;
    let sent = body.send(teller, clerk).await?;
    teller.end_payload().await?;
    match sent {
        Ok(()) => teller.say(&Response::Done).await,
        Err(error) => teller.refuse(error).await,
    }
}
