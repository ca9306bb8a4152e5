//! Performing effects: each arm hands the work to whoever does it.

use bytes::{BufMut, Bytes, BytesMut};
use relay_core::change::{Change, Due};
use relay_core::event::{Effect, Input, SendTrouble, Shape};
use relay_core::id::{NodeNo, StagedId, Ticket};
use relay_core::pack::Table;
use relay_core::poison::Touched;
use relay_core::segment::Digest;
use tracing::error;

use super::Driver;
use super::questions::{self, reply, unread};
use crate::event::Answer;
use crate::payloads::Payloads;
use crate::staging::Staged;
use crate::touch::touching;
use crate::transport::{Bodies, Payload, Source as _};

impl Driver {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Admit(put) => self.answer(put, Answer::Admitted),
            Effect::Accept(put) => self.answer(put, Answer::Accepted),
            Effect::AcceptAs(put, id, digest) => self.answer(put, Answer::Known(id, digest)),
            Effect::Refuse(put, why) => self.answer(put, Answer::Refused(why)),
            Effect::Discard(staged) => self.discard(staged),
            Effect::Persist(ticket, changes) => self.persist(ticket, changes),
            question @ (Effect::FindKey(..)
            | Effect::Page { .. }
            | Effect::Owing { .. }
            | Effect::Fetch(_)
            | Effect::FindExpired { .. }
            | Effect::FindStuck { .. }
            | Effect::LookUp { .. }
            | Effect::Recall { .. }
            | Effect::Group(_)
            | Effect::Walk { .. }) => {
                questions::ask(&self.hands.readers, &self.replies, question);
            }
            Effect::Divide {
                question,
                staged,
                shape,
                parts,
            } => self.divide(question, staged, &shape, &parts),
            Effect::Verify(due) => self.verify(due),
            Effect::Dial(peer) => {
                let addresses = self.hands.addresses.get(&peer).cloned().unwrap_or_default();
                self.hands
                    .transport
                    .dial(peer, addresses, self.hands.dial_timeout);
            }
            Effect::Answer(id, outcome) => {
                if let Some(waiting) = self.orders.remove(&id) {
                    // A client that hung up wants no answer.
                    let _ = waiting.send(outcome);
                }
            }
            Effect::Journaled { partial, bytes } => {
                self.hands.staging.journaled(partial, bytes);
            }
            Effect::Forget(partial) => {
                let staging = self.hands.staging.clone();
                tokio::task::spawn_blocking(move || staging.forget(partial));
            }
            Effect::Shun(id) => self.hands.transport.shun(id),
            Effect::Drained => self.drained = true,
            Effect::Close { .. }
            | Effect::Offer { .. }
            | Effect::Send { .. }
            | Effect::Reset { .. }
            | Effect::Want { .. }
            | Effect::Have { .. }
            | Effect::Ack { .. }
            | Effect::Busy { .. }
            | Effect::Settle { .. } => self.hands.transport.perform(effect),
        }
    }

    fn persist(&mut self, ticket: Ticket, changes: Vec<Change>) {
        let mut bytes = Vec::new();
        let goes_on =
            |change: &Change| matches!(change, Change::Owed(row) if row.due.peer != NodeNo::LOCAL);
        let goes_on = changes.iter().any(goes_on);
        for change in &changes {
            match change {
                Change::Pack { no, staged, info } => {
                    let Some(held) = self.staged.remove(staged) else {
                        continue;
                    };
                    if let (Staged::Memory(whole), true) = (&held, goes_on) {
                        self.hands.payloads.keep(*no, whole.clone(), info.table_len);
                    }
                    bytes.push((*staged, held));
                }
                Change::Node(no, name) => self.hands.payloads.name_node(*no, name.clone()),
                Change::Lane(no, name) => self.hands.payloads.name_lane(*no, name.clone()),
                Change::Partial(row) => self.hands.staging.journal_keeps(row.no),
                Change::PartialGone(no) => self.hands.staging.journal_forgets(*no),
                Change::Owed(_)
                | Change::Gone(_)
                | Change::Attempt(_)
                | Change::Book { .. }
                | Change::Heard(..)
                | Change::Receipt(_)
                | Change::Settled(..)
                | Change::Key(_)
                | Change::Set(..)
                | Change::Metered(_)
                | Change::Audit(_)
                | Change::PruneAudit(_)
                | Change::Spooled(_)
                | Change::Unspooled(_) => {}
            }
        }
        self.hands.journal.persist(ticket, changes, bytes);
    }

    fn discard(&mut self, id: StagedId) {
        self.rooms.remove(&id);
        if let Some(Staged::File { name, .. }) = self.staged.remove(&id) {
            let staging = self.hands.staging.clone();
            tokio::task::spawn_blocking(move || staging.discard(&name));
        }
    }

    /// Divides staged bytes into packs of some members each, and their room with them.
    fn divide(&mut self, question: u64, staged: StagedId, whole: &Shape, parts: &[Vec<u16>]) {
        let table_len = whole.table_len as usize;
        let held = match self.staged.get(&staged) {
            Some(Staged::Memory(bytes)) => Some(bytes.clone()),
            Some(Staged::File { .. }) | None => None,
        };
        let table = |bytes: &Bytes| Table::parse(bytes.slice(..table_len), whole.count).ok();
        let Some((bytes, table)) = held.and_then(|bytes| Some((bytes.clone(), table(&bytes)?)))
        else {
            let why = format!("staged bytes {staged} are not held, or do not parse");
            error!(error = %why, "A pack cannot be divided");
            let question = Effect::Divide {
                question,
                staged,
                shape: *whole,
                parts: parts.to_vec(),
            };
            return reply(&self.replies, unread(question, why));
        };
        self.staged.remove(&staged);
        let mut room = self.rooms.remove(&staged);
        let mut divided = Vec::with_capacity(parts.len());
        for keep in parts {
            let (bytes, shape) = subset(&table, &bytes[table_len..], keep);
            let id = self.hands.staging.fresh();
            let share = room.as_mut().map(|room| room.part(bytes.len()));
            self.rooms.extend(share.map(|share| (id, share)));
            self.staged.insert(id, Staged::Memory(bytes));
            divided.push((id, shape));
        }
        let parts = divided;
        reply(&self.replies, Input::Divided { question, parts });
    }

    /// Reads our own bytes again and checks every member.
    fn verify(&self, due: Due) {
        let (payloads, replies) = (self.hands.payloads.clone(), self.replies.clone());
        tokio::spawn(async move {
            let input = match checked(&payloads, due).await {
                Ok((bad, lengths)) => Input::Verified { due, bad, lengths },
                Err(SendTrouble::Missing | SendTrouble::Corrupt) => Input::Verified {
                    due,
                    bad: Vec::new(),
                    lengths: Vec::new(),
                },
                // The log says what the disk said, with its path.
                Err(SendTrouble::Unreadable) => {
                    let said = "the bytes of its pack cannot be read";
                    unread(Effect::Verify(due), said.to_owned())
                }
            };
            reply(&replies, input);
        });
    }
}

/// The members whose bytes are bad, and the length of each.
async fn checked(payloads: &Payloads, due: Due) -> Result<(Vec<u16>, Vec<u64>), SendTrouble> {
    let payload = payloads.read_back(due.pack).await?;
    let table = payloads.table(due.pack).await?;
    let lengths: Vec<u64> = table.members().iter().map(|member| member.length).collect();
    let bad = match &payload.bodies {
        Bodies::Memory(bodies) => touching(Some(Touched::Owed(due)), || table.verify(bodies))
            .map_err(|_| SendTrouble::Corrupt)?,
        Bodies::File { .. } => {
            let digest = hash_file(payloads, &payload, table.body_len()).await?;
            let sound = table
                .members()
                .first()
                .is_some_and(|member| member.digest == digest);
            if sound { Vec::new() } else { vec![0] }
        }
    };
    Ok((bad, lengths))
}

async fn hash_file(
    payloads: &Payloads,
    payload: &Payload,
    length: u64,
) -> Result<Digest, SendTrouble> {
    const CHUNK: u64 = 256 << 10;
    let mut hasher = blake3::Hasher::new();
    let mut from = 0;
    while from < length {
        let bytes = payloads
            .chunk(payload, from, CHUNK.min(length - from))
            .await?;
        hasher.update(&bytes);
        from += bytes.len() as u64;
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// A pack of some members of another.
fn subset(whole: &Table, bodies: &[u8], keep: &[u16]) -> (Bytes, Shape) {
    let table = whole.subset(keep);
    let mut cut = BytesMut::with_capacity(table.bytes().len() + table.body_len() as usize);
    cut.put_slice(table.bytes());
    for member in keep.iter().map(|n| &whole.members()[usize::from(*n)]) {
        cut.put_slice(&bodies[member.offset as usize..(member.offset + member.length) as usize]);
    }
    let (first, last) = table.id_range();
    let shape = Shape {
        count: keep.len() as u32,
        bytes: table.body_len(),
        table_len: table.bytes().len() as u32,
        table: Digest::of(table.bytes()),
        first,
        last,
    };
    (cut.freeze(), shape)
}
