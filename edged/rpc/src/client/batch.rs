//! Many small puts: batches sent ahead of their answers.
//!
//! A [`Batch`] is one buffer of bodies and one of lengths, reused; sending it is one
//! write. The window ([`WINDOW_BATCHES`], [`WINDOW_MEMBERS`]) keeps all answers due
//! within a socket buffer, so that neither side can wait for the other for ever.

use std::collections::VecDeque;

use super::{Client, ClientError};
use crate::frame;
use crate::{
    AcceptedBatch, Durability, Id, MAX_BATCH_MEMBERS, MAX_RAW, PutOptions, Response, RpcError,
    WINDOW_BATCHES, WINDOW_MEMBERS,
};

/// Members of a batch that [`Client::put_many`] sends: 512 in flight eightfold was the
/// fastest of the shapes measured (`performance.md`, fact 6).
const MANY_MEMBERS: usize = 512;

/// Bytes at which [`Client::put_many`] closes a batch.
const MANY_BYTES: usize = 512 << 10;

/// Batches [`Client::put_many`] keeps in flight.
const MANY_BATCHES: usize = 8;

/// Bodies gathered to be put together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    lengths: Vec<u32>,
    bodies: Vec<u8>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies one more body in; `false` and nothing done when the batch has no room for it.
    #[must_use]
    pub fn push(&mut self, body: &[u8]) -> bool {
        let room =
            self.lengths.len() < MAX_BATCH_MEMBERS && body.len() <= MAX_RAW - self.bodies.len();
        if let (true, Ok(length)) = (room, u32::try_from(body.len())) {
            self.lengths.push(length);
            self.bodies.extend_from_slice(body);
        }
        room
    }

    /// Members so far.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes of all members.
    pub fn bytes(&self) -> usize {
        self.bodies.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.bodies.clear();
    }
}

/// Batches sent and not yet answered, by member count.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: VecDeque<usize>,
    members: usize,
}

impl Window {
    pub(super) fn batches(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn due(&self) -> ClientError {
        ClientError::AnswersDue {
            batches: self.sent.len(),
            members: self.members,
        }
    }
}

/// What became of [`Client::put_many`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutMany {
    /// One per body tried, in order; [`Id::NIL`] for a refused one.
    pub ids: Vec<Id>,
    /// Who was refused, by place in `ids`, and why.
    pub refused: Vec<(usize, RpcError)>,
    /// What "stored" means here; `None` when nothing was stored.
    pub durability: Option<Durability>,
    /// A whole batch was refused, so no further bodies were tried.
    pub stopped: Option<RpcError>,
}

impl Client {
    /// Whether a batch of `members` may be sent before an answer is read.
    pub fn has_room(&self, members: usize) -> bool {
        let window = &self.window;
        window.sent.len() < WINDOW_BATCHES && window.members + members <= WINDOW_MEMBERS
    }

    /// Batches sent and not yet answered.
    pub fn unanswered(&self) -> usize {
        self.window.batches()
    }

    /// Sends a batch and does not wait; [`Client::recv_batch`] reads the answers in order.
    ///
    /// # Errors
    /// [`ClientError::AnswersDue`] when there is no room for it, and what a socket can say.
    pub fn send_batch(&mut self, options: &PutOptions, batch: &Batch) -> Result<(), ClientError> {
        self.send_parts(options, &batch.lengths, &batch.bodies)
    }

    /// The same for a caller whose bodies already lie end to end: nothing is copied.
    ///
    /// # Errors
    /// As [`Client::send_batch`], and [`ClientError::Frame`] when lengths and bodies disagree.
    pub fn send_parts(
        &mut self,
        options: &PutOptions,
        lengths: &[u32],
        bodies: &[u8],
    ) -> Result<(), ClientError> {
        let total = frame::check_lengths(lengths)?;
        if total != bodies.len() {
            let why = "the lengths do not add up to the bodies";
            let members = lengths.len();
            return Err(frame::FrameError::BadBatch {
                members,
                bytes: total as u64,
                why,
            }
            .into());
        }
        if !self.has_room(lengths.len()) {
            return Err(self.window.due());
        }
        let head = |out: &mut Vec<u8>| {
            frame::encode_batch(options, lengths, out)?;
            out.extend_from_slice(&frame::prefix(total));
            Ok(())
        };
        self.wire.say_with(head, bodies)?;
        self.window.sent.push_back(lengths.len());
        self.window.members += lengths.len();
        Ok(())
    }

    /// Reads the answer to the oldest unanswered batch.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when all of that batch was refused; the next may still be fine.
    pub fn recv_batch(&mut self) -> Result<AcceptedBatch, ClientError> {
        let members = *self.window.sent.front().ok_or_else(|| self.window.due())?;
        let answer = self.wire.answer();
        self.window.sent.pop_front();
        self.window.members -= members;
        let Response::AcceptedBatch(answer) = answer? else {
            return Err(self.off_script("an answer to a batch"));
        };
        if answer.ids.0.len() != members {
            return Err(self.off_script("an id for each member of a batch"));
        }
        Ok(answer)
    }

    /// Puts each body as a segment of its own and returns when all are answered. A body
    /// too long for a batch goes by [`Client::put`]. Stops at the first batch refused whole.
    ///
    /// # Errors
    /// When the conversation breaks; what was accepted before stays accepted.
    pub fn put_many<I>(&mut self, options: &PutOptions, bodies: I) -> Result<PutMany, ClientError>
    where
        I: IntoIterator<Item: AsRef<[u8]>>,
    {
        self.ready()?;
        let mut done = PutMany::default();
        let mut batch = Batch::new();
        for body in bodies {
            let body = body.as_ref();
            if batch.len() >= MANY_MEMBERS || batch.bytes() + body.len() > MANY_BYTES {
                self.flush(options, &mut batch, &mut done)?;
            }
            if done.stopped.is_some() {
                break;
            }
            if !batch.push(body) {
                self.drain(&mut done)?;
                done.one(self.put(options, body))?;
            }
        }
        if done.stopped.is_none() {
            self.flush(options, &mut batch, &mut done)?;
        }
        self.drain(&mut done)?;
        Ok(done)
    }

    fn flush(
        &mut self,
        options: &PutOptions,
        batch: &mut Batch,
        done: &mut PutMany,
    ) -> Result<(), ClientError> {
        if batch.is_empty() {
            return Ok(());
        }
        while self.unanswered() >= MANY_BATCHES {
            self.hear(done)?;
        }
        if done.stopped.is_none() {
            self.send_batch(options, batch)?;
            batch.clear();
        }
        Ok(())
    }

    fn drain(&mut self, done: &mut PutMany) -> Result<(), ClientError> {
        while self.unanswered() > 0 {
            self.hear(done)?;
        }
        Ok(())
    }

    fn hear(&mut self, done: &mut PutMany) -> Result<(), ClientError> {
        let members = self.window.sent.front().copied().unwrap_or_default();
        match self.recv_batch() {
            Ok(answer) => done.batch(answer),
            Err(ClientError::Refused(error)) => done.none(members, error),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl PutMany {
    fn batch(&mut self, answer: AcceptedBatch) {
        let base = self.ids.len();
        self.durability = Some(answer.durability);
        self.ids.extend(answer.ids.0);
        for refusal in answer.refused {
            for member in refusal.members {
                let place = usize::try_from(member).unwrap_or(usize::MAX);
                self.refused
                    .push((base.saturating_add(place), refusal.error.clone()));
            }
        }
    }

    fn none(&mut self, members: usize, error: RpcError) {
        let base = self.ids.len();
        self.ids.extend(std::iter::repeat_n(Id::NIL, members));
        self.refused
            .extend((base..base + members).map(|place| (place, error.clone())));
        self.stopped.get_or_insert(error);
    }

    fn one(&mut self, put: Result<crate::Accepted, ClientError>) -> Result<(), ClientError> {
        match put {
            Ok(accepted) => {
                self.durability = Some(accepted.durability);
                self.ids.push(accepted.segment_id);
            }
            Err(ClientError::Refused(error)) => {
                self.refused.push((self.ids.len(), error));
                self.ids.push(Id::NIL);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
