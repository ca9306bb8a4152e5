//! The control stream of a link, both ways.
//!
//! What is said is gathered: all that waits when the writer wakes goes out in one
//! write. What is heard becomes inputs for the core, in the order said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use relay_core::event::Input;
use relay_core::wire::{self, Frame};
use tokio::sync::mpsc;

use super::error::LinkError;
use super::frames;
use super::link::Ended;
use super::shared::Line;

/// Frames gathered into one write: 64 acks fill two datagrams, and more would only wait.
const GATHERED: usize = 256;
/// Above every lane, the draining ones too: answers free the other side's window.
const PRIORITY: i32 = 16;

/// Hears what the peer says until it ends its control stream, or says why it leaves.
pub(crate) async fn hear(line: Arc<Line>, mut stream: RecvStream) -> Result<Ended, LinkError> {
    let link = line.link;
    while let Some(frame) = frames::next(&mut stream).await? {
        let input = match frame {
            Frame::Ack(ack) => {
                line.promise(ack.durability);
                Input::Acked {
                    link,
                    ack: ack.into(),
                }
            }
            Frame::Busy {
                pack,
                part,
                why,
                retry_after_ms,
            } => {
                let retry_after = Duration::from_millis(retry_after_ms);
                Input::PeerBusy {
                    link,
                    pack,
                    part,
                    why,
                    retry_after,
                }
            }
            Frame::Settled { receipt } => Input::PeerSettled { link, receipt },
            Frame::Bye { why } => return Ok(Ended::Bye(Some(why))),
            Frame::Hello(_)
            | Frame::Pack(_)
            | Frame::Offer(_)
            | Frame::Want { .. }
            | Frame::Have { .. } => {
                return Err(LinkError::protocol(
                    "frame does not belong on the control stream",
                ));
            }
        };
        line.tell(input).await?;
    }
    Ok(Ended::Bye(None))
}

/// Says what comes through `frames`; once that is closed, ends the stream and waits until
/// the peer has it all.
pub(crate) async fn say(
    mut stream: SendStream,
    mut frames: mpsc::Receiver<Frame>,
) -> Result<Ended, LinkError> {
    // A stream that is closed has nothing to put before others.
    let _ = stream.set_priority(PRIORITY);
    let mut gathered = Vec::with_capacity(GATHERED);
    while frames.recv_many(&mut gathered, GATHERED).await > 0 {
        let mut out = Vec::with_capacity(64 * gathered.len());
        for frame in gathered.drain(..) {
            wire::encode(&frame, &mut out)
                .map_err(|_| LinkError::Broken("an answer is too long for a frame"))?;
        }
        stream.write_chunk(Bytes::from(out)).await?;
    }
    if stream.finish().is_ok() {
        // Gone already is as good as read.
        let _ = stream.stopped().await;
    }
    Ok(Ended::Said)
}
