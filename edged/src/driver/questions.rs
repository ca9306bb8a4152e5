//! The core's questions to the ledger, each answered by one call of a reader.
//!
//! One that cannot be read goes back to the core as it was asked: what follows from
//! that is decided there.

use relay_core::change::Part;
use relay_core::event::{Effect, Input};
use relay_core::ledger::{ReadError, Reader};
use tokio::sync::mpsc;
use tracing::warn;

use crate::event::Event;
use crate::readers::Readers;

/// Asks a reader thread; its answer is heard like anything else.
pub(super) fn ask(readers: &Readers, replies: &mpsc::UnboundedSender<Event>, question: Effect) {
    let replies = replies.clone();
    readers.spawn(move |reader| {
        let input = match read(reader, &question) {
            Ok(input) => input,
            Err(error) => {
                warn!(%error, ?question, "The ledger cannot be read");
                unread(question, error.to_string())
            }
        };
        reply(&replies, input);
    });
}

/// What the core hears of a question without an answer.
pub(super) fn unread(question: Effect, why: String) -> Input {
    let question = Box::new(question);
    Input::Unread { question, why }
}

pub(super) fn reply(replies: &mpsc::UnboundedSender<Event>, input: Input) {
    // Nobody left to hear means the daemon is ending.
    let _ = replies.send(input.into());
}

fn read(reader: &mut Reader, question: &Effect) -> Result<Input, ReadError> {
    match question {
        Effect::FindKey(put, name) => {
            let (put, row) = (*put, reader.find_key(name)?);
            Ok(Input::KeyFound { put, row })
        }
        Effect::Page {
            peer,
            lane,
            after,
            limit,
        } => Ok(Input::Paged {
            peer: *peer,
            lane: *lane,
            rows: reader.page(*peer, *lane, *after, *limit)?,
        }),
        Effect::Owing { peer, after, limit } => Ok(Input::Owing {
            peer: *peer,
            rows: reader.owing(*peer, *after, *limit)?,
        }),
        Effect::Fetch(due) => {
            let row = reader.fetch(*due)?.map(Box::new);
            let except = match (&row, due.part) {
                (None, Part::Rest) => reader.except(due.pack, due.peer)?,
                (Some(_), Part::Rest) | (_, Part::Member(_)) => Vec::new(),
            };
            let due = *due;
            Ok(Input::Fetched { due, row, except })
        }
        Effect::FindExpired { by, after, limit } => {
            let found = reader.expired(*by, *after, *limit)?;
            Ok(Input::Expired {
                dues: found.dues,
                next: found.next,
            })
        }
        Effect::FindStuck { after, limit } => {
            let dues = reader.stuck(*after, *limit)?;
            Ok(Input::Stuck { dues })
        }
        Effect::LookUp {
            question,
            origin,
            ids,
        } => Ok(Input::LookedUp {
            question: *question,
            known: reader.look_up(*origin, ids)?,
        }),
        Effect::Recall {
            question,
            peer,
            after,
            limit,
        } => Ok(Input::Recalled {
            question: *question,
            peer: *peer,
            rows: reader.recall(*peer, *after, *limit)?,
        }),
        Effect::Group(pack) => {
            let (pack, rows) = (*pack, reader.group(*pack)?);
            Ok(Input::Grouped { pack, rows })
        }
        Effect::Walk {
            peer,
            standby,
            after,
            limit,
        } => {
            let (packs, upto) = reader.look_through(*peer, *standby, *after, *limit)?;
            Ok(Input::Walked {
                peer: *peer,
                standby: *standby,
                packs,
                upto,
            })
        }
        Effect::Admit(_)
        | Effect::Accept(_)
        | Effect::AcceptAs(..)
        | Effect::Refuse(..)
        | Effect::Answer(..)
        | Effect::Discard(_)
        | Effect::Persist(..)
        | Effect::Divide { .. }
        | Effect::Verify(_)
        | Effect::Dial(_)
        | Effect::Close { .. }
        | Effect::Offer { .. }
        | Effect::Send { .. }
        | Effect::Reset { .. }
        | Effect::Want { .. }
        | Effect::Journaled { .. }
        | Effect::Forget(_)
        | Effect::Have { .. }
        | Effect::Ack { .. }
        | Effect::Busy { .. }
        | Effect::Settle { .. }
        | Effect::Shun(_)
        | Effect::Drained => unreachable!("only questions to the ledger are asked here"),
    }
}
