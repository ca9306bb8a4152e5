//! What must come before what: no promise leaves before the syncs that cover it.
//!
//! [`judge`] takes a [`Recording`] of one daemon and finds the promises in it: answers
//! to puts on the Unix socket, and acks to peers. QUIC hides what an ack says, so the
//! daemon logs at level trace, and the line `Asked … Ack` it writes before it hands
//! the ack to the transport stands for the ack. Everything else is read from the bytes
//! themselves: a segment's id lies in the record of its pack in the log, and the first
//! id of the pack in the row of the WAL.
//!
//! For each promise, in this order and each returned before the next began: the log
//! write that holds the record; a sync of that file; the WAL write that holds the row;
//! the end of its transaction; a sync of the WAL; the promise. A segment with a file of
//! its own has no record: its file, named in the row, and then its folder are synced
//! before the row is written.

use std::collections::{BTreeMap, BTreeSet};

use edged_rpc::{MAX_FRAME, Response, frame};

use super::trace::{Call, Recording};

type Id = [u8; 16];

/// What a recording shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Segments that were answered on the socket.
    pub answers: usize,
    /// Packs that were acknowledged.
    pub acks: usize,
    /// Promises that left too early, and what was missing.
    pub broken: Vec<String>,
}

/// A promise about one segment, at a line of the recording.
struct Promise {
    id: Id,
    at: usize,
    what: &'static str,
}

/// Judges every promise of one daemon's recording.
#[must_use]
pub fn judge(recording: &Recording) -> Verdict {
    let (answers, acks) = (answers(recording), acks(recording));
    let disk = Disk::of(recording);
    let mut verdict = Verdict {
        answers: answers.len(),
        acks: acks.len(),
        broken: Vec::new(),
    };
    for promise in answers.iter().chain(&acks) {
        if let Err(missing) = disk.covers(promise.id, promise.at) {
            let id = u128::from_be_bytes(promise.id);
            let (what, line) = (promise.what, promise.at + 1);
            verdict
                .broken
                .push(format!("{what} of seg-{id:032x} at line {line}: {missing}"));
        }
    }
    verdict
}

/// Answers to puts: frames on the socket, each connection's put together.
fn answers(recording: &Recording) -> Vec<Promise> {
    let mut streams: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut found = Vec::new();
    for call in recording.calls.iter().filter(|call| call.is_answer()) {
        let stream = streams.entry(&call.file).or_default();
        stream.extend_from_slice(&call.bytes);
        while let Ok(Some(body)) = frame::split(stream, MAX_FRAME) {
            let length = body.len();
            let ids = match frame::decode::<Response>(body) {
                Ok(Response::Accepted(accepted)) => vec![accepted.segment_id],
                Ok(Response::AcceptedBatch(batch)) => batch.ids.0,
                // A greeting, or an answer that promises nothing.
                _ => Vec::new(),
            };
            let ids = ids.into_iter().filter(|id| !id.is_nil());
            found.extend(ids.map(|id| Promise {
                id: id.0,
                at: call.begun,
                what: "answer",
            }));
            stream.drain(..frame::PREFIX + length);
        }
    }
    found
}

/// Acks to peers: the words the daemon says before it sends one, and which segment
/// the pack they name began with when it arrived.
fn acks(recording: &Recording) -> Vec<Promise> {
    let mut arrived: BTreeMap<String, Id> = BTreeMap::new();
    let mut found = Vec::new();
    for call in recording
        .calls
        .iter()
        .filter(|call| call.is_write() && call.file.starts_with("pipe"))
    {
        let line = String::from_utf8_lossy(&call.bytes);
        let sent = between(&line, "sent: Sent {", "}").map(str::to_owned);
        let Some(sent) = sent else { continue };
        if line.contains("Heard") && line.contains("input=Arrived {") {
            let first = between(&line, "first: seg-", ",").and_then(parse);
            arrived.extend(first.map(|id| (sent, id)));
        } else if line.contains("Asked") && line.contains("effect=Ack {") {
            // An ack of what never arrived names no id that any write could hold.
            let id = arrived.get(&sent).copied().unwrap_or_default();
            found.push(Promise {
                id,
                at: call.begun,
                what: "ack",
            });
        }
    }
    found
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    Some(rest.split_once(to)?.0)
}

fn parse(hex: &str) -> Option<Id> {
    u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
}

/// Everything that was written and synced, by place.
struct Disk<'a> {
    log: Vec<&'a Call>,
    wal: Vec<&'a Call>,
    payload: Vec<&'a Call>,
    syncs: Vec<&'a Call>,
    /// For each segment in the log: which write, and the first id of its pack.
    records: BTreeMap<Id, (usize, Id)>,
}

/// What a record begins with, and where its parts lie (`relay_core::ledger`'s log).
const RECORD_MAGIC: [u8; 4] = 0x6b63_6170_u32.to_le_bytes();
const RECORD: usize = 28;
/// The fixed part of a member in a pack's table: its id stands first.
const ENTRY: usize = 56;
/// The header of a page in the WAL; bytes 4 to 8 are zero unless it ends a transaction.
const FRAME_HEADER: usize = 24;

impl<'a> Disk<'a> {
    fn of(recording: &'a Recording) -> Self {
        let writes = |place: fn(&str) -> bool| {
            let calls = recording.calls.iter();
            calls
                .filter(|call| call.is_write() && place(&call.file))
                .collect::<Vec<_>>()
        };
        let mut disk = Self {
            log: writes(|file| file.ends_with(".log")),
            wal: writes(|file| file.ends_with("ledger.db-wal")),
            payload: writes(|file| file.contains("/payload/")),
            syncs: recording
                .calls
                .iter()
                .filter(|call| call.is_sync())
                .collect(),
            records: BTreeMap::new(),
        };
        for (write, call) in disk.log.iter().enumerate() {
            disk.records
                .extend(ids_in(&call.bytes).map(|(id, first)| (id, (write, first))));
        }
        disk
    }

    /// Whether the segment was on stable storage when line `at` began.
    fn covers(&self, id: Id, at: usize) -> Result<(), &'static str> {
        let (row, from) = match self.records.get(&id) {
            Some((write, first)) => {
                let record = self.log[*write];
                let synced = self.synced(&record.file, record.ended);
                (*first, synced.ok_or("the log is not synced")?)
            }
            None => (id, 0),
        };
        // Of a segment with a file of its own the row that counts names that file: what
        // was journaled while it arrived promises nothing.
        let in_log = self.records.contains_key(&id);
        let holds = |call: &&&Call| {
            let late = call.begun > from && holds(&call.bytes, &row);
            late && (in_log || self.files_named(call).next().is_some())
        };
        let page = self.wal.iter().find(holds).ok_or(match in_log {
            true => "no row is written after its bytes are synced",
            false => "its bytes are nowhere",
        })?;
        if !self.records.contains_key(&id) {
            self.file_synced(page)?;
        }
        let commit = self.commit(page).ok_or("its transaction does not end")?;
        let durable = self
            .synced(&page.file, commit)
            .ok_or("the WAL is not synced")?;
        if durable < at {
            Ok(())
        } else {
            Err("the WAL is synced only later")
        }
    }

    /// The line at which the first sync of `file` that began after `line` returned.
    fn synced(&self, file: &str, line: usize) -> Option<usize> {
        let covering = |call: &&&Call| call.file == file && call.begun > line;
        self.syncs.iter().find(covering).map(|call| call.ended)
    }

    /// The line at which the transaction that wrote `page` was written to its end. A
    /// frame is a header and then its page, so the last header before it may be its own.
    fn commit(&self, page: &Call) -> Option<usize> {
        let of = self.wal.iter().position(|call| call.begun == page.begun)?;
        let frames = &self.wal[of.saturating_sub(1)..];
        let last = frames
            .iter()
            .position(|call| call.bytes.len() == FRAME_HEADER && call.bytes[4..8] != [0; 4])?;
        frames.get(last + 1).map(|call| call.ended)
    }

    /// The payload files that a page names.
    fn files_named(&self, page: &Call) -> impl Iterator<Item = &str> {
        let named = |file: &str| {
            file.rsplit('/')
                .next()
                .is_some_and(|name| holds(&page.bytes, name.as_bytes()))
        };
        let files = self.payload.iter().map(|call| call.file.as_str());
        files.filter(move |file| named(file))
    }

    /// Some payload file is named in the row, and it and its folder were synced before.
    fn file_synced(&self, page: &Call) -> Result<(), &'static str> {
        let files: BTreeSet<&str> = self.files_named(page).collect();
        if files.is_empty() {
            return Err("its bytes are nowhere");
        }
        for file in files {
            let writes = self.payload.iter().filter(|call| call.file == file);
            let written = writes.map(|call| call.ended).max().unwrap_or(0);
            let synced = self.synced(file, written).ok_or("its file is not synced")?;
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            let named = self
                .synced(folder, synced)
                .ok_or("the folder of its file is not synced")?;
            if named > page.begun {
                return Err("its row is written before its file is synced");
            }
        }
        Ok(())
    }
}

/// Ids in the records of one log write, each with the first id of its pack. Entries
/// are read up to the length of the record: a body that looks like an id names nobody.
fn ids_in(bytes: &[u8]) -> impl Iterator<Item = (Id, Id)> {
    let mut found = Vec::new();
    let mut at = 0;
    while bytes[at..].starts_with(&RECORD_MAGIC) && bytes.len() >= at + RECORD {
        let length = u32::from_le_bytes(bytes[at + 20..at + 24].try_into().expect("4 bytes"));
        let end = (at + RECORD + length as usize).min(bytes.len());
        let pack = &bytes[at + RECORD..end];
        let entries = pack
            .chunks_exact(ENTRY)
            .filter_map(|entry| entry.first_chunk::<16>());
        if let Some(first) = pack.first_chunk::<16>() {
            found.extend(entries.map(|id| (*id, *first)));
        }
        at = end;
    }
    found.into_iter()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|found| found == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One put of 337 B as alpha made it durable, and as beta did: recorded by
    /// `tests/syncs.rs`, unused zeros taken out of the pages.
    const ANSWER: &[u8] = include_bytes!("recorded/answer.strace");
    const ACK: &[u8] = include_bytes!("recorded/ack.strace");

    fn broken(recording: &Recording) -> Vec<String> {
        let verdict = judge(recording);
        assert_eq!(
            verdict.answers + verdict.acks,
            1,
            "one promise: {verdict:?}"
        );
        verdict.broken
    }

    #[test]
    fn what_was_recorded_holds() {
        for recorded in [ANSWER, ACK] {
            assert_eq!(broken(&Recording::read(recorded)), Vec::<String>::new());
        }
    }

    #[test]
    fn without_either_sync_it_does_not() {
        for recorded in [ANSWER, ACK] {
            let recording = Recording::read(recorded);
            let without =
                |end| recording.without(|call| call.is_sync() && call.file.ends_with(end));

            assert!(broken(&without(".log"))[0].ends_with("the log is not synced"));
            assert!(broken(&without("-wal"))[0].ends_with("the WAL is not synced"));
        }
    }

    #[test]
    fn a_promise_that_overtakes_the_last_sync_is_seen() {
        for recorded in [ANSWER, ACK] {
            let mut recording = Recording::read(recorded);
            let last = recording
                .calls
                .iter()
                .rposition(Call::is_sync)
                .expect("it was synced");
            let promise = recording
                .calls
                .last_mut()
                .expect("it ends with the promise");
            (promise.begun, promise.ended) = (0, 0);

            assert!(last > 0 && broken(&recording)[0].ends_with("the WAL is synced only later"));
        }
    }

    #[test]
    fn a_row_written_before_its_bytes_are_synced_is_seen() {
        for recorded in [ANSWER, ACK] {
            let mut recording = Recording::read(recorded);
            let end = recording
                .calls
                .last()
                .expect("it ends with the promise")
                .begun;
            let is_log = |call: &&mut Call| call.is_sync() && call.file.ends_with(".log");
            let sync = recording
                .calls
                .iter_mut()
                .find(is_log)
                .expect("the log was synced");
            sync.ended = end - 1;

            assert!(broken(&recording)[0].contains("after its bytes are synced"));
        }
    }

    #[test]
    fn an_answer_that_names_what_nobody_wrote_is_seen() {
        for recorded in [ANSWER, ACK] {
            let recording = Recording::read(recorded);
            let without = recording.without(|call| call.file.ends_with(".log"));

            assert!(broken(&without)[0].ends_with("its bytes are nowhere"));
        }
    }
}
