//! `state_dir/last-panic`: what earlier runs of this daemon died of.
//!
//! A panic is about us, and ends the daemon at once. Its hook says so on standard error
//! as ever, writes one line more into the file (what was said, where, by which thread,
//! with what in hand), and aborts. The file holds the last few of them, one JSON object
//! a line, newest last; it is written beside itself and renamed, and stays for whoever
//! wants to read it. The next start reads it and hands it to the core, which counts
//! (`relay_core::poison`) and remembers what it has counted. A line that cannot be read
//! is passed over.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use relay_core::change::{Due, Part};
use relay_core::id::{BootEpoch, LedgerId, NodeNo, PackNo};
use relay_core::poison::{Panic, Touched};
use relay_core::time::Unix;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{clock, touch};

/// The name of the file.
pub const NAME: &str = "last-panic";
/// Panics it keeps: runs that follow each other so fast that none is counted.
const KEPT: usize = 8;
/// What is read of it at most: [`KEPT`] of the longest lines.
const LONGEST_FILE: u64 = 16 << 10;
/// What is kept of the words of one.
const LONGEST_WORDS: usize = 512;

/// Where the hook of this process writes.
static PLACE: OnceLock<Place> = OnceLock::new();

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    ledger: LedgerId,
    epoch: BootEpoch,
    /// What the file holds already.
    earlier: Vec<Record>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Which ledger: numbers in `touched` mean something there alone.
    ledger: u64,
    epoch: u64,
    /// On the age clock, in milliseconds.
    at: u64,
    thread: String,
    place: String,
    said: String,
    touched: Option<InHand>,
}

/// What was in hand, for people too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InHand {
    Owed {
        peer: u32,
        pack: u64,
        member: Option<u16>,
    },
    Arriving {
        segment: String,
    },
}

impl From<Touched> for InHand {
    fn from(touched: Touched) -> Self {
        match touched {
            Touched::Owed(due) => Self::Owed {
                peer: due.peer.0,
                pack: due.pack.0,
                member: match due.part {
                    Part::Rest => None,
                    Part::Member(member) => Some(member),
                },
            },
            Touched::Arriving(id) => Self::Arriving {
                segment: id.to_string(),
            },
        }
    }
}

impl InHand {
    fn touched(&self) -> Option<Touched> {
        match self {
            Self::Owed { peer, pack, member } => Some(Touched::Owed(Due {
                peer: NodeNo(*peer),
                pack: PackNo(*pack),
                part: member.map_or(Part::Rest, Part::Member),
            })),
            Self::Arriving { segment } => segment.parse().ok().map(Touched::Arriving),
        }
    }
}

/// From here on a panic of any thread ends this process, and is written down once
/// [`arm`] has said where.
pub fn install() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if let Some(place) = PLACE.get() {
            place.write(&Record::of(info, place));
        }
        std::process::abort();
    }));
}

/// Panics are written into `folder`, as those of this run. Answers what earlier runs of
/// this ledger left there, oldest first.
pub fn arm(folder: &Path, ledger: LedgerId, epoch: BootEpoch) -> Vec<Panic> {
    let earlier = read(&folder.join(NAME));
    let ours = earlier.iter().filter(|record| record.ledger == ledger.0);
    let panics = ours.map(Record::panic).collect();
    let folder = folder.to_path_buf();
    // A second daemon in one process (a test) writes where the first does.
    let _ = PLACE.set(Place {
        folder,
        ledger,
        epoch,
        earlier,
    });
    panics
}

impl Place {
    /// Writes the file anew, with `last` behind what it holds. Nothing is left to be done
    /// about an error: the process is ending.
    fn write(&self, last: &Record) {
        let beyond = (self.earlier.len() + 1).saturating_sub(KEPT);
        let records = self.earlier.iter().skip(beyond).chain([last]);
        let lines = records.filter_map(|record| serde_json::to_string(record).ok());
        let text: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
        let _ = replace(&self.folder, text.as_bytes());
    }
}

fn replace(folder: &Path, text: &[u8]) -> std::io::Result<()> {
    let (fresh, name) = (folder.join("last-panic.new"), folder.join(NAME));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(fresh, name)?;
    File::open(folder)?.sync_all()
}

impl Record {
    fn of(info: &PanicHookInfo<'_>, place: &Place) -> Self {
        let words = info.payload();
        let said = words
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| words.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        Self {
            ledger: place.ledger.0,
            epoch: place.epoch.0,
            at: clock::now().unix.0,
            thread: std::thread::current().name().unwrap_or("?").to_owned(),
            place: info.location().map(ToString::to_string).unwrap_or_default(),
            said: cut(said),
            touched: touch::in_hand().map(InHand::from),
        }
    }

    fn panic(&self) -> Panic {
        Panic {
            epoch: BootEpoch(self.epoch),
            at: Unix(self.at),
            touched: self.touched.as_ref().and_then(InHand::touched),
            said: format!("{} at {} in {}", cut(&self.said), self.place, self.thread),
        }
    }
}

/// So much of a text as is kept, in one line.
fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept: String = plain.collect();
    let end = (0..=LONGEST_WORDS.min(kept.len())).rev();
    let end = end.into_iter().find(|at| kept.is_char_boundary(*at));
    kept.truncate(end.unwrap_or(0));
    kept
}

/// What the file holds, oldest first; nothing if there is none.
fn read(path: &Path) -> Vec<Record> {
    let mut text = Vec::new();
    let found = File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut text));
    match found {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(path = %path.display(), %error, "What an earlier run died of cannot be read");
            return Vec::new();
        }
    }
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.is_empty());
    let records = lines.filter_map(|line| match serde_json::from_str(line) {
        Ok(record) => Some(record),
        Err(error) => {
            warn!(path = %path.display(), %error, "A line about an earlier panic is passed over");
            None
        }
    });
    let mut records: Vec<Record> = records.collect();
    let beyond = records.len().saturating_sub(KEPT);
    records.drain(..beyond);
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::id::SegmentId;

    fn record(epoch: u64, touched: Option<Touched>) -> Record {
        Record {
            ledger: 5,
            epoch,
            at: 1_700_000_000_000,
            thread: "main".to_owned(),
            place: "src/lib.rs:1:1".to_owned(),
            said: "no\nline \u{e9}".to_owned(),
            touched: touched.map(InHand::from),
        }
    }

    fn place(folder: &Path, earlier: Vec<Record>) -> Place {
        Place {
            folder: folder.to_path_buf(),
            ledger: LedgerId(5),
            epoch: BootEpoch(9),
            earlier,
        }
    }

    #[test]
    fn what_is_written_is_read_back_with_what_was_there_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let due = Due {
            peer: NodeNo(1),
            pack: PackNo(3),
            part: Part::Member(7),
        };
        let id = SegmentId([7; 16]);
        let all = [
            record(7, None),
            record(8, Some(Touched::Owed(due))),
            record(9, Some(Touched::Arriving(id))),
        ];

        place(folder.path(), all[..2].to_vec()).write(&all[2]);

        let found = read(&folder.path().join(NAME));
        assert_eq!(found, all);
        let touched: Vec<_> = found.iter().map(|record| record.panic().touched).collect();
        let wanted = [None, Some(Touched::Owed(due)), Some(Touched::Arriving(id))];
        assert_eq!(touched, wanted);
    }

    #[test]
    fn the_file_keeps_the_last_few() {
        let folder = tempfile::tempdir().expect("a folder");
        let earlier: Vec<Record> = (0..KEPT as u64).map(|epoch| record(epoch, None)).collect();

        place(folder.path(), earlier).write(&record(99, None));

        let found = read(&folder.path().join(NAME));
        let epochs: Vec<u64> = found.iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, [1, 2, 3, 4, 5, 6, 7, 99]);
    }

    #[test]
    fn garbage_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let line = serde_json::to_string(&record(3, None)).expect("plain words");
        let junk = [&b"\xff\x00{]\n"[..], line.as_bytes(), b"\n{\"epoch\":"].concat();
        fs::write(&path, junk).expect("it is written");

        assert_eq!(read(&path), [record(3, None)]);
        assert_eq!(read(&folder.path().join("nowhere")), []);
        fs::write(&path, vec![b'x'; 1 << 20]).expect("it is written");
        assert_eq!(read(&path), []);
    }

    #[test]
    fn words_are_cut_to_one_line_of_bounded_length() {
        assert_eq!(cut("two\nlines"), "two lines");
        assert_eq!(cut(&"\u{e9}".repeat(1_000)).len(), LONGEST_WORDS);
    }
}
