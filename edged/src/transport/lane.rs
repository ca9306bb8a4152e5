//! The pack stream of one lane, both ways.
//!
//! A pack goes out as header, table and the bodies selected, in one or several pieces
//! (a rate cuts it), in the order asked for, without a copy of bytes that are in memory.
//! A stream ends after a while of use or of rest and the next takes its place: QUIC
//! says of a stream that has ended when the peer has acknowledged all of it, and so the
//! core hears that those packs are delivered. One that has ended goes before its
//! successor, so packs keep their order.
//!
//! It comes in whole, into room taken before its first byte is read, and is hashed here,
//! in the task of its stream.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use relay_core::change::Due;
use relay_core::event::{Input, Parcel, SendTrouble};
use relay_core::pack::Table;
use relay_core::poison::Touched;
use relay_core::segment::Class;
use relay_core::time::Mono;
use relay_core::wire::{Frame, Goodbye, Members, PackHeader, TAKEN_BACK};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::arrival::arrival;
use super::error::LinkError;
use super::frames;
use super::link::Ended;
use super::order::Piece;
use super::shared::Line;
use super::source::{self, Payload};
use crate::clock;
use crate::event::Event;
use crate::staging::Staged;
use crate::touch::touching;

/// A stream that has carried packs for so long ends with the next one: acks are awaited
/// at most so much longer than they need be.
const IN_USE: Duration = Duration::from_secs(1);
/// A stream that rests so long ends.
const AT_REST: Duration = Duration::from_millis(50);

/// What a lane is asked to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Put these bytes on its stream.
    Send(Box<Piece>),
    /// Send no more of this pack, if it is under way here.
    TakeBack(Due),
}

/// Sends the packs of one lane, piece by piece, until `work` is closed.
pub(crate) async fn send_packs(
    line: Arc<Line>,
    mut work: mpsc::Receiver<Work>,
) -> Result<Ended, LinkError> {
    let mut sender = Sender {
        line,
        out: None,
        pack: None,
        landing: JoinSet::new(),
    };
    loop {
        let rests = sender.pack.is_none() && sender.out.is_some();
        let heard = tokio::select! {
            asked = work.recv() => Heard::Work(asked),
            Some(landed) = sender.landing.join_next() => Heard::Landed(landed.ok().flatten()),
            () = tokio::time::sleep(AT_REST), if rests => Heard::Rest,
        };
        match heard {
            Heard::Work(Some(Work::Send(piece))) => sender.send(&piece).await?,
            Heard::Work(Some(Work::TakeBack(due))) => sender.take_back(due),
            Heard::Work(None) => return Ok(Ended::Lane),
            Heard::Landed(dues) => sender.tell_delivered(dues.unwrap_or_default()).await?,
            Heard::Rest => sender.turn_over(),
        }
    }
}

/// What the sender of a lane wakes for.
enum Heard {
    Work(Option<Work>),
    /// The peer's QUIC has all of these; `None` if the connection went first.
    Landed(Option<Vec<Due>>),
    Rest,
}

/// Hears the packs of one stream until the peer ends it.
pub(crate) async fn hear_packs(
    line: Arc<Line>,
    mut stream: RecvStream,
) -> Result<Ended, LinkError> {
    while let Some(frame) = frames::next(&mut stream).await? {
        let Frame::Pack(header) = frame else {
            return Err(LinkError::protocol(
                "frame does not belong on a pack stream",
            ));
        };
        let length = u64::from(header.table_len) + header.body_len;
        let room = line.room.take(length).await?;
        let mut bytes = BytesMut::zeroed(length as usize);
        frames::fill(&mut stream, &mut bytes).await?;
        let name = line.shared.staging.fresh();
        let (arrival, bytes) = arrival(
            &header,
            line.ledger,
            bytes.freeze(),
            name,
            &line.shared.wary,
            line.shared.topics,
        )?;
        let event = Event {
            input: Input::Arrived {
                link: line.link,
                arrival: Box::new(arrival),
            },
            room: bytes.is_some().then(|| room.into()),
            staged: bytes.map(|bytes| (name, Staged::Memory(bytes))),
        };
        line.shared.tell(event).await?;
    }
    Ok(Ended::Heard)
}

/// The priority of a class among QUIC streams, where more is more urgent. One above it
/// is for streams that have ended and go before their successors.
pub(crate) fn priority(class: Class) -> i32 {
    2 * (Class::COUNT as i32 - 1 - i32::from(class.level()))
}

/// The words before a parcel whose selected bodies are `body_len` bytes.
pub(crate) fn header(line: &Line, parcel: &Parcel, body_len: u64) -> Result<PackHeader, LinkError> {
    let source = &line.shared.source;
    let unknown = LinkError::Broken("a parcel names a lane or an origin without a name");
    let Some(lane) = source.lane(parcel.info.lane) else {
        return Err(unknown);
    };
    let origin = if parcel.info.origin == relay_core::id::NodeNo::LOCAL {
        None
    } else {
        let Some(node) = source.node(parcel.info.origin) else {
            return Err(unknown);
        };
        Some(node)
    };
    Ok(PackHeader::new(parcel, lane, origin, body_len))
}

/// The sending end of a lane.
struct Sender {
    line: Arc<Line>,
    /// The stream in use, opened with its first pack.
    out: Option<Out>,
    /// The pack under way.
    pack: Option<Pack>,
    /// Streams that have ended, until the peer has acknowledged all of each.
    landing: JoinSet<Option<Vec<Due>>>,
}

/// A stream in use.
struct Out {
    stream: SendStream,
    class: Class,
    /// Packs that are on it whole.
    dues: Vec<Due>,
    since: Mono,
}

/// A pack of which some pieces are still to come.
struct Pack {
    due: Due,
    payload: Payload,
    /// Where its selected bodies lie.
    runs: Vec<Range<u64>>,
}

impl Sender {
    async fn send(&mut self, piece: &Piece) -> Result<(), LinkError> {
        let due = piece.parcel.due;
        match self.chunks(piece).await? {
            Ok(Some(mut chunks)) => {
                let link = self.line.link;
                let stream = self.stream(piece.parcel.class).await?;
                match stream.write_all_chunks(&mut chunks).await {
                    Ok(()) => {}
                    Err(WriteError::Stopped(_)) => {
                        return Err(LinkError::protocol("peer stopped a pack stream"));
                    }
                    Err(_) => return Err(LinkError::Gone),
                }
                let bytes = piece.bytes;
                self.line.tell(Input::Taken { link, due, bytes }).await?;
                if piece.last {
                    self.pack = None;
                    self.on_whole(due);
                }
                Ok(())
            }
            // The rest of a pack that was given up: nothing of it is sent.
            Ok(None) => Ok(()),
            Err(trouble) => {
                self.give_up(Goodbye::Internal.code());
                self.line
                    .tell(Input::SendFailed {
                        link: self.line.link,
                        due,
                        trouble,
                    })
                    .await
            }
        }
    }

    /// The chunks that a piece is, `None` if its pack is not under way, or the trouble
    /// with our own bytes.
    async fn chunks(
        &mut self,
        piece: &Piece,
    ) -> Result<Result<Option<Vec<Bytes>>, SendTrouble>, LinkError> {
        let mut chunks = Vec::with_capacity(3);
        if piece.from == 0 {
            if self.pack.is_some() {
                warn!(link = %self.line.link, due = ?piece.parcel.due, "Pack cut short");
                self.give_up(Goodbye::Internal.code());
            }
            let pack = match self.load(&piece.parcel).await {
                Ok(pack) => pack,
                Err(trouble) => return Ok(Err(trouble)),
            };
            let body_len = pack.runs.iter().map(|run| run.end - run.start).sum();
            let header = header(&self.line, &piece.parcel, body_len)?;
            chunks.push(frames::bytes(&Frame::Pack(header))?);
            self.pack = Some(pack);
        }
        let Some(pack) = self
            .pack
            .as_ref()
            .filter(|pack| pack.due == piece.parcel.due)
        else {
            debug!(link = %self.line.link, due = ?piece.parcel.due, "Piece of no pack under way");
            return Ok(Ok(None));
        };
        let table = &pack.payload.table;
        let table_len = table.len() as u64;
        let end = piece.from.saturating_add(piece.bytes);
        if piece.from < table_len {
            chunks.push(table.slice(piece.from as usize..end.min(table_len) as usize));
        }
        let (from, end) = (
            piece.from.saturating_sub(table_len),
            end.saturating_sub(table_len),
        );
        for run in within(&pack.runs, from, end - from) {
            match source::read(&*self.line.shared.source, &pack.payload, run).await {
                Ok(bytes) => chunks.push(bytes),
                Err(trouble) => return Ok(Err(trouble)),
            }
        }
        Ok(Ok(Some(chunks)))
    }

    async fn load(&self, parcel: &Parcel) -> Result<Pack, SendTrouble> {
        let payload = self.line.shared.source.load(parcel.due.pack).await?;
        if payload.table.len() != parcel.info.table_len as usize {
            return Err(SendTrouble::Corrupt);
        }
        let members = Members::of(parcel.due.part, &parcel.except);
        let runs = if members == Members::All {
            vec![Range {
                start: 0,
                end: parcel.info.bytes,
            }]
        } else {
            let touched = Some(Touched::Owed(parcel.due));
            let table = touching(touched, || {
                Table::parse(payload.table.clone(), parcel.info.count)
            });
            let table = table.map_err(|_| SendTrouble::Corrupt)?;
            members.runs(table.members())
        };
        Ok(Pack {
            due: parcel.due,
            payload,
            runs,
        })
    }

    async fn stream(&mut self, class: Class) -> Result<&mut SendStream, LinkError> {
        let out = match self.out.take() {
            Some(out) => out,
            None => {
                let stream = self.line.connection.open_uni().await?;
                // A stream that is closed has nothing to put before others.
                let _ = stream.set_priority(priority(class));
                let (dues, since) = (Vec::new(), clock::now().mono);
                Out {
                    stream,
                    class,
                    dues,
                    since,
                }
            }
        };
        Ok(&mut self.out.insert(out).stream)
    }

    /// A pack is on its stream whole.
    fn on_whole(&mut self, due: Due) {
        let Some(out) = &mut self.out else { return };
        out.dues.push(due);
        if clock::now().mono.since(out.since) >= IN_USE {
            self.turn_over();
        }
    }

    /// Ends the stream in use: once the peer has acknowledged all of it, the packs on
    /// it are delivered.
    fn turn_over(&mut self) {
        let Some(out) = self.out.take() else { return };
        let Out {
            mut stream,
            class,
            dues,
            since: _,
        } = out;
        // Before its successor; and a stream that is closed needs no end.
        let _ = stream.set_priority(priority(class) + 1);
        let _ = stream.finish();
        self.landing
            .spawn(async move { stream.stopped().await.is_ok().then_some(dues) });
    }

    async fn tell_delivered(&self, dues: Vec<Due>) -> Result<(), LinkError> {
        if dues.is_empty() {
            return Ok(());
        }
        let link = self.line.link;
        self.line.tell(Input::Delivered { link, dues }).await
    }

    fn take_back(&mut self, due: Due) {
        if self.pack.as_ref().is_some_and(|pack| pack.due == due) {
            self.give_up(TAKEN_BACK);
        }
    }

    /// Leaves a pack unfinished, and the next one goes on another stream. A stream that
    /// carries nothing else is reset; one that does ends inside the pack, by which the
    /// peer knows as well, since a reset would take those before it along.
    fn give_up(&mut self, code: u32) {
        if self.pack.take().is_none() {
            return;
        }
        match self.out.take() {
            Some(mut out) if out.dues.is_empty() => {
                // One that is closed already is as good.
                let _ = out.stream.reset(VarInt::from_u32(code));
            }
            out => {
                self.out = out;
                self.turn_over();
            }
        }
    }
}

/// The parts of `runs` that are bytes `from` to `from + length` of them laid end to end.
fn within(runs: &[Range<u64>], from: u64, length: u64) -> Vec<Range<u64>> {
    let (mut skip, mut left) = (from, length);
    let mut parts = Vec::new();
    for run in runs {
        let held = run.end - run.start;
        let start = run.start + skip.min(held);
        skip -= skip.min(held);
        let end = run.end.min(start + left);
        if start < end {
            left -= end - start;
            parts.push(start..end);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_across_runs() {
        let runs = [0..3, 7..10, 10..10, 20..24];

        assert_eq!(within(&runs, 0, 10), [0..3, 7..10, 20..24]);
        assert_eq!(within(&runs, 2, 3), [2..3, 7..9]);
        assert_eq!(within(&runs, 6, 100), [Range { start: 20, end: 24 }]);
        assert!(within(&runs, 0, 0).is_empty());
    }

    #[test]
    fn a_more_urgent_class_has_the_higher_priority() {
        let of = |level| priority(Class::new(level).expect("a class"));

        assert!(of(0) > of(1) && of(6) > of(7));
    }
}
