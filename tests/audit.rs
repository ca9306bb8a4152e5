//! The audit chain of a real ledger: whatever is appended and pruned verifies,
//! whatever is changed by hand is found (surface 7, INV-AUDIT-01).

use edged_rpc::{AuditAsk, AuditExport, AuditPrune, Request, Response};
use proptest::prelude::*;
use relay_core::audit::{AuditEntry, AuditEvent, AuditRecord, Fault, LAST_HASH, UPTO, Verdict};
use relay_core::change::Change;
use relay_core::event::Caller;
use relay_core::id::Ticket;
use relay_core::ledger::{AuditFilter, Durability, Ledger, Options};
use relay_core::segment::Digest;
use relay_core::time::Unix;
use rusqlite::Connection;
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000_000;

/// A ledger, and the entries it should hold.
struct World {
    dir: TempDir,
    options: Options,
    ledger: Option<Ledger>,
    model: Vec<AuditEntry>,
    pruned: u64,
    now: u64,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let mut options = Options::new("alpha".parse().expect("a name"), 64 << 20, 7);
        options.log_file_bytes = 1 << 20;
        options.durability = Durability::Written;
        let mut world = Self {
            dir,
            options,
            ledger: None,
            model: Vec::new(),
            pruned: 0,
            now: NOW,
        };
        world.restart();
        world
    }

    /// The daemon starts: that is two entries.
    fn restart(&mut self) {
        self.ledger = None;
        let opened = Ledger::open(self.dir.path(), self.options.clone(), Unix(self.now));
        let (ledger, snapshot) = opened.expect("it opens");
        self.ledger = Some(ledger);
        let epoch = snapshot.epoch.0.to_string();
        let record = |event| AuditRecord::own(Unix(self.now), event, "boot_epoch", epoch.clone());
        let started = record(AuditEvent::SystemStarted);
        let recovered = record(AuditEvent::RecoveryCompleted).with("rescued", 0);
        self.expect(&started);
        self.expect(&recovered);
    }

    fn last(&self) -> (u64, Digest) {
        self.model
            .last()
            .map_or((0, Digest::default()), |entry| (entry.seq, entry.hash))
    }

    fn expect(&mut self, record: &AuditRecord) {
        let (seq, hash) = self.last();
        self.model.push(AuditEntry::chained(record, seq + 1, hash));
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let ledger = self.ledger.as_mut().expect("it is open");
        ledger
            .commit(&[(Ticket(1), changes)], &mut |_| None, Unix(self.now))
            .expect("it commits");
    }

    fn append(&mut self, n: u8) {
        self.now += u64::from(n);
        let caller = Caller {
            uid: u32::from(n % 3),
            operator: n.is_multiple_of(2).then(|| format!("op-{}", n % 4)),
            reason: n
                .is_multiple_of(5)
                .then(|| "a \"quoted\", reason\n".to_owned()),
        };
        let event = AuditEvent::ALL[usize::from(n) % AuditEvent::ALL.len()];
        let record = AuditRecord::by(&caller, Unix(self.now), event, "peer", format!("p{n}"))
            .with("count", n)
            .with("before", u32::from(n) * 7);
        self.commit(vec![Change::Audit(record.clone())]);
        self.expect(&record);
    }

    fn prune(&mut self, age: u64) {
        let mut reader = self
            .ledger
            .as_ref()
            .expect("it is open")
            .reader()
            .expect("a reader");
        let Some(span) = reader.audit_older(Unix(self.now - age)).expect("an answer") else {
            return;
        };
        let record = AuditRecord::own(
            Unix(self.now),
            AuditEvent::AuditPruned,
            "audit",
            "chain".into(),
        )
        .with(UPTO, span.upto)
        .with(LAST_HASH, span.last_hash);
        self.commit(vec![
            Change::PruneAudit(span.upto),
            Change::Audit(record.clone()),
        ]);
        self.expect(&record);
        let before = self.model.len();
        self.model.retain(|entry| entry.seq > span.upto);
        assert_eq!((before - self.model.len()) as u64, span.count);
        self.pruned = span.upto;
    }

    fn verify(&self) -> Verdict {
        let mut reader = self
            .ledger
            .as_ref()
            .expect("it is open")
            .reader()
            .expect("a reader");
        reader.audit_verify().expect("it can be read")
    }

    /// Changes a row by hand.
    fn tamper(&self, sql: &str) -> usize {
        let conn = Connection::open(self.dir.path().join("ledger.db")).expect("the database");
        conn.execute(sql, []).expect("it is changed")
    }

    fn filled() -> Self {
        let mut world = Self::new();
        (0..20).for_each(|n| world.append(n));
        world
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Prune(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Append),
        1 => (0u64..500).prop_map(Step::Prune),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_appended_and_pruned_reads_back_and_verifies(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append(n) => world.append(n),
                Step::Prune(age) => world.prune(age),
                Step::Restart => world.restart(),
            }
        }
        let mut reader = world.ledger.as_ref().expect("open").reader().expect("a reader");

        let found = reader.audit_from(0, usize::MAX).expect("entries");

        prop_assert_eq!(&found, &world.model);
        let (last, head) = world.last();
        let entries = world.model.len() as u64;
        prop_assert_eq!(world.verify(), Verdict::Sound { entries, pruned: world.pruned, last, head });
    }

    #[test]
    fn any_byte_changed_in_a_row_is_found(
        seq in 1i64..=22, column in 0usize..13, at in 0usize..40, flip in 1u8..=255,
    ) {
        let world = World::filled();
        let name = ["at", "event", "category", "action", "outcome", "source", "actor", "uid",
            "resource_type", "resource", "reason", "prev", "hash"][column];
        let conn = Connection::open(world.dir.path().join("ledger.db")).expect("the database");
        let query = format!("SELECT CAST({name} AS BLOB) FROM audit WHERE seq = {seq}");
        let old: Option<Vec<u8>> = conn.query_row(&query, [], |row| row.get(0)).expect("a row");
        let mut bytes = old.unwrap_or_default();
        if bytes.is_empty() {
            bytes.push(flip);
        } else {
            let at = at % bytes.len();
            bytes[at] ^= flip;
        }
        let kind = match name {
            "at" | "uid" => "INTEGER",
            "prev" | "hash" => "BLOB",
            _ => "TEXT",
        };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("UPDATE audit SET {name} = CAST(x'{hex}' AS {kind}) WHERE seq = {seq}");
        let before: String = text(&conn, name, seq);
        world.tamper(&sql);
        // A digit that became no digit may be cast to the number it was.
        prop_assume!(before != text(&conn, name, seq));

        let verdict = world.verify();

        prop_assert!(matches!(verdict, Verdict::Broken { .. }), "{name} of {seq}: {verdict:?}");
    }

    #[test]
    fn entries_removed_swapped_or_cut_are_found(a in 1i64..=22, b in 1i64..=22) {
        let world = World::filled();
        let sql = if a == b {
            format!("DELETE FROM audit WHERE seq = {a}")
        } else if a < b {
            format!(
                "UPDATE audit SET (event, category, action, prev, hash) =
                   (SELECT event, category, action, prev, hash FROM audit WHERE seq = {a}) WHERE seq = {b}"
            )
        } else {
            format!("DELETE FROM audit WHERE seq >= {a}")
        };
        prop_assert!(world.tamper(&sql) > 0);

        let verdict = world.verify();

        prop_assert!(matches!(verdict, Verdict::Broken { .. }), "{sql}: {verdict:?}");
    }
}

fn text(conn: &Connection, name: &str, seq: i64) -> String {
    let query = format!(
        "SELECT coalesce(quote(CAST({name} AS BLOB)) || typeof({name}), '') FROM audit WHERE seq = {seq}"
    );
    conn.query_row(&query, [], |row| row.get(0)).expect("a row")
}

#[test]
fn the_first_fault_is_named_with_its_place() {
    let cases = [
        (
            "UPDATE audit SET reason = 'because' WHERE seq = 9",
            9,
            Fault::Changed,
        ),
        (
            "DELETE FROM audit WHERE seq = 9",
            10,
            Fault::Missing { from: 9 },
        ),
        (
            "DELETE FROM audit WHERE seq < 9",
            9,
            Fault::Missing { from: 1 },
        ),
        (
            "DELETE FROM audit WHERE seq > 9",
            9,
            Fault::Cut { head: 22 },
        ),
        (
            "UPDATE audit SET fields = x'ff' WHERE seq = 9",
            9,
            Fault::Unreadable,
        ),
    ];
    for (sql, at, wanted) in cases {
        let world = World::filled();
        assert!(world.tamper(sql) > 0);

        assert_eq!(
            world.verify(),
            Verdict::Broken {
                seq: at,
                fault: wanted
            },
            "{sql}"
        );
    }
}

#[test]
fn filters_narrow_and_sums_add_up() {
    let world = World::filled();
    let mut reader = world
        .ledger
        .as_ref()
        .expect("open")
        .reader()
        .expect("a reader");
    let all = reader
        .audit(&AuditFilter::default(), None, 5)
        .expect("a page");
    let filter = AuditFilter {
        operator: Some("op-2".into()),
        event: Some("relay.*".into()),
        ..AuditFilter::default()
    };
    let some = reader.audit(&filter, None, 100).expect("a page");
    let sums = reader.audit_summary(&AuditFilter::default()).expect("sums");

    assert_eq!(
        (all.total, all.entries.len(), all.entries[0].seq),
        (22, 5, 22)
    );
    let wanted = |entry: &&AuditEntry| {
        entry.actor.as_deref() == Some("op-2") && entry.event.starts_with("relay.")
    };
    assert_eq!(some.total, world.model.iter().filter(wanted).count() as u64);
    assert!(some.total > 0 && some.entries.iter().all(|entry| wanted(&entry)));
    assert_eq!(sums.total, 22);
    assert_eq!(sums.events.iter().map(|(_, count)| count).sum::<u64>(), 22);
}

#[test]
fn a_node_that_does_not_run_still_answers_and_prunes_under_its_lock() {
    let dir = TempDir::new().expect("a folder");
    let edged = |args: &[&str], stdin: &[u8]| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_relay-node"))
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut input = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut input, stdin).expect("it listens");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{args:?}");
        output.stdout
    };
    let place = dir.path().join("alpha").display().to_string();
    let init = [
        "init",
        "--node",
        "alpha",
        "--dir",
        &place,
        "--listen",
        "127.0.0.1:0",
    ];
    edged(&init, b"");
    let state = dir.path().join("alpha/state");
    let options = Options::new("alpha".parse().expect("a name"), 64 << 20, 7);
    drop(Ledger::open(&state, options, Unix(NOW)).expect("it opens"));
    let config = format!("{place}/edged.toml");
    let ask = |request: Request| {
        let question = (request, Some("ops".to_owned()), Some("space".to_owned()));
        let question = postcard::to_stdvec(&question).expect("plain words");
        let answer = edged(&["offline", "audit", "--config", &config], &question);
        postcard::from_bytes::<Response>(&answer).expect("an answer")
    };
    let prune = AuditPrune {
        older_than_seconds: 1,
        force: true,
        upto: None,
    };

    let pruned = ask(Request::AuditPrune(prune));
    let verdict = ask(Request::Audit(AuditAsk::Verify));
    let left = ask(Request::Audit(AuditAsk::Export(AuditExport { after: 0 })));

    assert!(
        matches!(&pruned, Response::AuditPruned(done) if done.count == 1),
        "{pruned:?}"
    );
    assert!(
        matches!(&verdict, Response::AuditVerdict(verdict) if verdict.holds),
        "{verdict:?}"
    );
    let Response::Audit(left) = left else {
        panic!("{left:?}");
    };
    let last = left.items.last().expect("one");
    assert_eq!(last.event_name, "audit.pruned");
    assert_eq!(
        (last.actor.as_deref(), last.reason.as_deref()),
        (Some("ops"), Some("space"))
    );
}
