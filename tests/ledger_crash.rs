//! The ledger against SIGKILL: what was called durable is there, whatever the
//! moment.
//!
//! The test runs itself again as a child that commits group after group and says
//! on its standard output what the ledger has answered. The parent reads some of
//! it, kills the child, opens the ledger itself and holds it to every word heard.
//! The folder is the same in every round, so the log is used again many times.
//! SIGKILL cannot show a missing fdatasync; it shows an answer before COMMIT, a
//! row that names bytes not written, a file used again too early, and a pack lost while
//! it was copied forward.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use relay_core::change::{Change, Due, OwedRow, Part};
use relay_core::delivery::{Attempt, Outcome, State};
use relay_core::id::{BootEpoch, LaneNo, NodeNo, PackNo, SegmentId, Sequence, StagedId, Ticket};
use relay_core::ledger::{Ledger, Loaded, Options, Reader, Staged};
use relay_core::pack::{Builder, Built};
use relay_core::segment::{Digest, PackInfo};
use relay_core::time::Unix;
use tempfile::TempDir;

const ROUNDS: u64 = 24;
const NOW: Unix = Unix(1_700_000_000_000);
const PEER: NodeNo = NodeNo(1);
/// Names the folder to the child.
const FOLDER: &str = "EDGED_LEDGER_CRASH_FOLDER";
/// Groups a child commits if nobody kills it.
const GROUPS: u64 = 20_000;

#[test]
fn whatever_was_called_durable_survives_a_kill() {
    let dir = TempDir::new().expect("a folder");
    let mut chance = Pcg64Mcg::seed_from_u64(20);
    let mut heard = Heard::default();

    for round in 0..ROUNDS {
        let lines = chance.next_u32() % 800;
        heard.run_child(dir.path(), lines, &format!("round {round}"));
        heard.verify(dir.path(), round);
    }

    assert!(
        heard.ever > 1000,
        "only {} packs became durable",
        heard.ever
    );
    assert!(heard.refusals > 0, "the ceiling was never met");
}

/// Not a test of its own: what the other one runs as a process to be killed.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(dir) = env::var_os(FOLDER) else {
        return;
    };
    let (mut ledger, snapshot) = open(Path::new(&dir));
    let mut out = std::io::stdout();
    let mut next = snapshot.last_pack.0 + 1;
    let mut waiting: Vec<PackNo> = Vec::new();
    let mut full = false;
    for group in 0..GROUPS {
        let packs: Vec<PackNo> = (next..next + 1 + group % 4).map(PackNo).collect();
        next += packs.len() as u64;
        // Nothing is settled until the ceiling refuses; then two of three are, spread over
        // all files: what is left is copied forward.
        let settled: Vec<PackNo> = match full {
            true => waiting.extract_if(.., |no| no.0 % 3 != group % 3).collect(),
            false => Vec::new(),
        };
        let mut items: Vec<(Ticket, Vec<Change>)> =
            packs.iter().map(|no| (Ticket(no.0), put(*no))).collect();
        items.push((
            Ticket(0),
            settled
                .iter()
                .map(|no| Change::Owed(row(*no, State::Acked)))
                .collect(),
        ));
        // Said before the commit: from here on they may be gone.
        for no in &settled {
            writeln!(out, "settling {no}").expect("the parent reads");
        }
        let mut staged = |id: StagedId| Some(Staged::Memory(built(PackNo(id.0)).bytes));
        let report = ledger.commit(&items, &mut staged, NOW).expect("it commits");
        full = !report.refused.is_empty();
        ledger.relieve(NOW).expect("it cleans");
        for no in packs {
            let refused = report.refused.contains(&Ticket(no.0));
            let word = if refused { "refused" } else { "durable" };
            writeln!(out, "{word} {no}").expect("the parent reads");
            if !refused {
                waiting.push(no);
            }
        }
    }
}

/// What the children have said.
#[derive(Default)]
struct Heard {
    durable: BTreeSet<PackNo>,
    refused: BTreeSet<PackNo>,
    ever: u64,
    refusals: u64,
}

impl Heard {
    fn run_child(&mut self, dir: &Path, lines: u32, what: &str) {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args([
                "--exact",
                "child_that_commits_until_it_is_killed",
                "--nocapture",
                "-q",
            ])
            .env(FOLDER, dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut words = 0;
        while words < lines {
            let Some(Ok(line)) = said.next() else {
                panic!("{what}: the child ended by itself")
            };
            words += u32::from(self.hear(&line));
        }
        child.kill().expect("it can be killed");
        // What it said before it died counts as well; a cut last line does not.
        for line in said.map_while(Result::ok) {
            self.hear(&line);
        }
        child.wait().expect("it has ended");
    }

    fn hear(&mut self, line: &str) -> bool {
        let Some((word, number)) = line.split_once(' ') else {
            return false;
        };
        let Ok(no) = number.parse().map(PackNo) else {
            return false;
        };
        match word {
            "durable" => {
                self.durable.insert(no);
                self.refused.remove(&no);
                self.ever += 1;
            }
            "refused" => {
                self.durable.remove(&no);
                self.refused.insert(no);
                self.refusals += 1;
            }
            "settling" => drop(self.durable.remove(&no)),
            _ => return false,
        }
        true
    }

    fn verify(&mut self, dir: &Path, round: u64) {
        let (ledger, snapshot) = open(dir);
        let mut reader = ledger.reader().expect("a reader");
        for no in &self.durable {
            assert!(
                *no <= snapshot.last_pack,
                "round {round}: {no} is above the last pack"
            );
            check_there(&mut reader, *no, round);
        }
        for no in &self.refused {
            let found = reader.fetch(due(*no)).expect("an answer");
            assert_eq!(found, None, "round {round}: {no} was refused");
        }
        // Numbers above the last durable one are given again by the next child.
        self.refused.retain(|no| *no <= snapshot.last_pack);
        assert_eq!(reader.damaged(), 0, "round {round}");
        self.settle(ledger);
    }

    /// Settles what is waiting, so that the next child finds room.
    fn settle(&mut self, mut ledger: Ledger) {
        let mut reader = ledger.reader().expect("a reader");
        let page = reader
            .page(PEER, LaneNo(0), None, usize::MAX >> 8)
            .expect("a page");
        let rows = page.into_iter().map(|paged| OwedRow {
            state: State::Acked,
            ..paged.row
        });
        let changes: Vec<Change> = rows.map(Change::Owed).collect();
        ledger
            .commit(&[(Ticket(1), changes)], &mut |_| None, NOW)
            .expect("it commits");
        self.durable.clear();
    }
}

fn check_there(reader: &mut Reader, no: PackNo, round: u64) {
    let row = reader.fetch(due(no)).expect("an answer");
    let row = row
        .unwrap_or_else(|| panic!("round {round}: the row of {no} is gone"))
        .row;
    match row.state {
        State::Scheduled => {
            let ended = row
                .attempt
                .and_then(|attempt| attempt.ended)
                .map(|(_, how)| how);
            assert_eq!(
                ended,
                (no.0.is_multiple_of(2)).then_some(Outcome::Abandoned),
                "round {round}: {no}"
            );
        }
        State::Inflight | State::Failed { .. } | State::Acked | State::Deadletter { .. } => {
            panic!("round {round}: {no} stands as {:?}", row.state);
        }
    }
    let wanted = built(no);
    match reader.load(no) {
        Ok(Loaded::Memory { bytes, .. }) => {
            assert!(bytes == wanted.bytes, "round {round}: {no} has other bytes");
        }
        other => panic!("round {round}: {no}: {other:?}"),
    }
}

fn open(dir: &Path) -> (Ledger, relay_core::change::Snapshot) {
    let mut options = Options::new("alpha".parse().expect("a name"), 8 << 20, 7);
    options.log_file_bytes = 512 << 10;
    Ledger::open(dir, options, NOW).expect("it opens")
}

/// The bytes of a pack follow from its number.
fn built(no: PackNo) -> Built {
    let mut chance = Pcg64Mcg::seed_from_u64(no.0);
    let mut pack = Builder::new();
    for member in 0..1 + no.0 % 5 {
        let mut body = vec![0u8; (chance.next_u32() % 12_000) as usize];
        chance.fill_bytes(&mut body);
        pack.push(
            SegmentId::v7(NOW.0, u128::from(no.0 << 8 | member)),
            b"",
            &body,
        );
    }
    pack.finish().expect("it has members")
}

fn put(no: PackNo) -> Vec<Change> {
    let built = built(no);
    let table: Bytes = built.bytes.slice(..built.table_len as usize);
    let info = PackInfo {
        lane: LaneNo(0),
        origin: NodeNo(no.0 as u32 % 2),
        via: NodeNo(no.0 as u32 % 2),
        hops: 0,
        sequence: Sequence::of(no),
        count: built.count,
        bytes: built.bytes.len() as u64 - u64::from(built.table_len),
        table_len: built.table_len,
        table: Digest::of(&table),
        first: built.first,
        last: built.last,
        created: NOW,
        expires: None,
    };
    let state = if no.0.is_multiple_of(2) {
        State::Inflight
    } else {
        State::Scheduled
    };
    vec![
        Change::Pack {
            no,
            staged: StagedId(no.0),
            info,
        },
        Change::Owed(row(no, state)),
    ]
}

fn due(pack: PackNo) -> Due {
    Due {
        peer: PEER,
        pack,
        part: Part::Rest,
    }
}

fn row(no: PackNo, state: State) -> OwedRow {
    let open = Attempt {
        number: 1,
        epoch: BootEpoch(1),
        started: NOW,
        ended: None,
    };
    OwedRow {
        due: due(no),
        lane: LaneNo(0),
        count: 1,
        bytes: 1,
        state,
        spent: 0,
        attempt: (state == State::Inflight).then_some(open),
        rescued: false,
        held: false,
        standby: false,
        stuck: false,
        acked_late: false,
        evicted: false,
        expires: None,
        left: 0,
        place: None,
        queued: NOW,
        updated: NOW,
        error: None,
    }
}
