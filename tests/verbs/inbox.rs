//! What a consumer types: the inbox listed, read, taken and confirmed, with real daemons.
//!
//! What is taken and not confirmed comes again when its lease is over; what was confirmed
//! never does, whatever kills the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgectl::Exit;
use edged_rpc::PutOptions;
use harness::daemon::{PATIENCE, Pair, Said, to_beta};
use serde_json::Value;

use super::{CTL, NODE};

/// Longer than the lease of what is taken.
const LEASE_AND_MORE: Duration = Duration::from_secs(600);

/// A pair whose beta has some arrivals: their ids, oldest first, and bytes.
pub(super) struct Inbox {
    pub(super) pair: Pair,
    pub(super) bodies: BTreeMap<String, Vec<u8>>,
    pub(super) ids: Vec<String>,
}

impl Inbox {
    /// These arrive, one after the other.
    pub(super) fn with(seed: u64, bodies: &[&[u8]]) -> Self {
        let mut pair = Pair::new(NODE, seed);
        pair.configure("[storage]\nmax_bytes = \"1GiB\"\n");
        pair.start_beta();
        pair.start_alpha();
        let mut kept = BTreeMap::new();
        for body in bodies {
            let options = PutOptions {
                topic: Some(format!("size/{}", body.len())),
                ..to_beta()
            };
            let put = pair.alpha.client().put(&options, body).expect("it is put");
            kept.insert(put.segment_id.to_string(), body.to_vec());
        }
        let books = pair.alpha.wait_at_rest(PATIENCE);
        assert_eq!(books.acked, bodies.len() as u64);
        let mut inbox = Self {
            pair,
            bodies: kept,
            ids: Vec::new(),
        };
        inbox.ids = inbox
            .listed("inbox list")
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(inbox.ids.len(), bodies.len());
        inbox
    }

    pub(super) fn ask(&self, line: &str) -> Said {
        CTL.ask(self.pair.beta.home.socket(), line)
    }

    pub(super) fn must(&self, line: &str) -> String {
        let said = self.ask(line);
        assert_eq!(said.exit, Exit::Done, "{line}: {said:?}");
        said.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.must(&format!("{line} --json"))).expect("JSON")
    }

    /// Ids and states of the rows that `line` prints.
    pub(super) fn listed(&self, line: &str) -> Vec<(String, String)> {
        let page = self.json(line);
        let rows = page["items"].as_array().expect("rows").iter();
        let text = |row: &Value, key: &str| row[key].as_str().expect("text").to_owned();
        rows.map(|row| (text(row, "segment_id"), text(row, "state")))
            .collect()
    }

    /// Those that stand so in the list.
    pub(super) fn in_state(&self, state: &str) -> BTreeSet<String> {
        let all = self.listed("inbox list").into_iter();
        all.filter(|(_, at)| at == state)
            .map(|(id, _)| id)
            .collect()
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.pair.site.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        folder
    }

    /// The daemon is killed and started, and all leases end.
    fn kill_and_let_leases_end(&mut self) {
        self.pair.beta.end().kill9();
        self.pair.start_beta();
        self.pair.pass(LEASE_AND_MORE);
    }

    fn end(mut self) {
        self.pair.alpha.end().terminate();
        self.pair.beta.end().terminate();
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("it can be listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("text"))
        .collect()
}

fn set(ids: &[String]) -> BTreeSet<String> {
    ids.iter().cloned().collect()
}

#[test]
fn what_arrived_is_listed_oldest_first_and_read_without_being_leased() {
    let large: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 251) as u8).collect();
    let inbox = Inbox::with(91, &[b"one", b"", &large, b"four"]);
    let out = inbox.folder("out");

    let first = inbox.json("inbox list --limit 3");
    assert_eq!(
        (&first["schema"], &first["total"]),
        (&"inbox.list/1".into(), &4.into())
    );
    let after = first["next"].as_str().expect("there is more");
    let rest = inbox.listed(&format!("inbox list --after {after}"));
    assert_eq!(rest, [(inbox.ids[3].clone(), "ready".to_owned())]);
    let about = inbox.listed("inbox list --topic size/0");
    let empty = inbox.bodies.iter().find(|(_, body)| body.is_empty());
    assert_eq!(about[0].0, *empty.expect("it arrived").0);
    assert_eq!(inbox.listed("inbox list --origin gamma"), []);
    let text = inbox.must("inbox list");
    for id in &inbox.ids {
        assert!(text.contains(id.as_str()), "{text}");
        let file = out.join(id);
        inbox.must(&format!("inbox get {id} -o {}", file.display()));
        assert!(
            fs::read(file).expect("it is written") == inbox.bodies[id],
            "{id}"
        );
    }
    let nowhere = out.join("nowhere");
    let said = inbox.ask(&format!("inbox get seg-ffffffff -o {}", nowhere.display()));
    assert_eq!(said.exit, Exit::NotFound, "{said:?}");

    assert_eq!(names(&out), set(&inbox.ids), "nothing else is written");
    assert_eq!(inbox.in_state("ready"), set(&inbox.ids));
    inbox.end();
}

#[test]
fn what_is_taken_into_a_folder_is_there_in_two_files_and_never_comes_again() {
    let large = vec![7; 3 << 20];
    let mut inbox = Inbox::with(92, &[b"one", &large, b"three", b"four"]);
    let (first, second) = (inbox.folder("first"), inbox.folder("second"));

    let taken = inbox.must(&format!("inbox take --max 2 --dir {}", first.display()));

    assert!(taken.ends_with("2 items taken\n"), "{taken}");
    let oldest = &inbox.ids[..2];
    let both = |id: &String| [format!("{id}.bin"), format!("{id}.json")];
    assert_eq!(names(&first), oldest.iter().flat_map(both).collect());
    for id in oldest {
        let bytes = fs::read(first.join(format!("{id}.bin"))).expect("its bytes");
        assert!(bytes == inbox.bodies[id], "{id}");
        let words = fs::read(first.join(format!("{id}.json"))).expect("its words");
        let words: Value = serde_json::from_slice(&words).expect("JSON");
        assert_eq!(words["segment_id"], id.as_str());
        assert_eq!(words["len"], bytes.len());
        assert_eq!(words["topic"], format!("size/{}", bytes.len()));
    }
    assert_eq!(inbox.in_state("confirmed"), set(oldest));

    inbox.kill_and_let_leases_end();
    inbox.must(&format!("inbox take --max 100 --dir {}", second.display()));
    let rest = &inbox.ids[2..];
    assert_eq!(names(&second), rest.iter().flat_map(both).collect());
    assert_eq!(inbox.in_state("confirmed"), set(&inbox.ids));
    let nowhere = inbox.ask("inbox take --dir /nowhere/at/all");
    assert_eq!(nowhere.exit, Exit::Refused, "{nowhere:?}");
    inbox.end();
}

#[test]
fn what_was_confirmed_never_comes_again_and_what_was_only_taken_does() {
    let mut inbox = Inbox::with(93, &[b"one", b"two", b"three", b"four"]);
    let confirm = format!("inbox confirm {} {}", inbox.ids[0], inbox.ids[2]);

    let taken = inbox.listed("inbox take --max 3");
    assert_eq!(taken.len(), 3);
    assert_eq!(inbox.in_state("leased"), set(&inbox.ids[..3]));
    assert_eq!(inbox.must(&confirm), "confirmed 2  already 0\n");
    assert_eq!(inbox.must(&confirm), "confirmed 0  already 2\n");
    let stranger = inbox.ask("inbox confirm seg-ffffffff");
    assert_eq!(
        (stranger.exit, stranger.code()),
        (Exit::NotFound, "no_such_item")
    );

    inbox.kill_and_let_leases_end();
    let done = [inbox.ids[0].clone(), inbox.ids[2].clone()];
    assert_eq!(inbox.in_state("confirmed"), set(&done));
    let again = inbox.listed("inbox take --max 100");
    let again: Vec<String> = again.into_iter().map(|(id, _)| id).collect();
    assert_eq!(again, [inbox.ids[1].clone(), inbox.ids[3].clone()]);
    assert_eq!(inbox.must(&confirm), "confirmed 0  already 2\n");
    inbox.end();
}
