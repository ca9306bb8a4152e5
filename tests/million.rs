//! A million small segments wait, outlive restarts, pass, and are taken out.
//!
//! They are put while the peer is away and everything a client may ask is asked all the
//! while: lists from end to end, one segment's story, why it waits, the audit, the inbox.
//! Memory of either daemon and SQLite's log are looked at throughout. The sender starts
//! anew with all of it waiting, and once more after a kill with some of it in flight; then
//! all arrive, wait there, and are taken and confirmed, each once and byte for byte.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edged_rpc::{
    AuditQuery, Client, ClientError, Id, InboxList, InboxTake, LaneList, RelayList, RelayStatus,
    RelayWhy, SegmentList,
};
use harness::daemon::{Node, PATIENCE, Pair, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::{number_from_env, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// The bytes of each.
const LENGTH: u64 = 256;
const MIB: u64 = 1 << 20;
/// The bound on SQLite's log at every look.
const WAL: u64 = 80 * MIB;
/// The bounds on memory (P6 of the design): at the sender, at the receiver, while they
/// wait; at either while they move as fast as they can.
const SENDER: u64 = 24 * MIB;
const RECEIVER: u64 = 32 * MIB;
const PEAK: u64 = 40 * MIB;
/// What a release maps of its own code, at most.
const CODE: u64 = 8 * MIB;
/// Longer than a million of anything takes, in a debug build beside other work.
const LONG: Duration = Duration::from_secs(300);

/// How many segments; `EDGED_MILLION` says otherwise.
fn count() -> u64 {
    number_from_env("EDGED_MILLION", 1_000_000)
}

#[test]
fn a_million_segments_wait_pass_and_are_taken_out_in_bounded_memory() {
    let mut pair = Pair::new(NODE, 21);
    pair.start_alpha();
    let idle = settled_memory(&pair.alpha);
    let ids = wait_at_the_sender(&mut pair, idle);
    start_with_all_of_it(&mut pair, idle);
    pass(&pair);

    let begun = Instant::now();
    let (times, seen) = beside(&[&pair.beta], || take_all(&pair.beta, &ids));

    say(&format!("  taken in {:?}: {}", begun.elapsed(), seen[0]));
    seen[0].check(PEAK);
    assert!(times.iter().all(|times| *times == 1), "each is taken once");
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
}

/// All is put, and waits.
fn wait_at_the_sender(pair: &mut Pair, idle: Memory) -> Vec<Id> {
    let begun = Instant::now();
    let (ids, seen) = beside(&[&pair.alpha], || put_all(&pair.alpha));
    let waiting = settled_memory(&pair.alpha);
    say(&format!("  put in {:?}: {}", begun.elapsed(), seen[0]));
    say(&format!("  memory idle {idle}, all waiting {waiting}"));
    seen[0].check(PEAK);
    waiting.check(SENDER);
    ids
}

/// The sender starts with all of it waiting, and with some in flight.
fn start_with_all_of_it(pair: &mut Pair, idle: Memory) {
    let ready = restart(pair);
    let waiting = settled_memory(&pair.alpha);
    say(&format!("  ready in {ready:?} with all waiting: {waiting}"));
    // What memory holds is what is being done, not what waits.
    assert!(waiting.own <= idle.own + 4 * MIB, "{waiting}, idle {idle}");

    let (rescued, ready) = restart_in_flight(pair);
    say(&format!("  ready in {ready:?} with {rescued} in flight"));
}

/// All arrives, and waits for its consumer.
fn pass(pair: &Pair) {
    let begun = Instant::now();
    let (books, seen) = beside(&[&pair.alpha, &pair.beta], || pair.alpha.wait_at_rest(LONG));
    assert_eq!((books.acked, books.deadletter), (count(), 0), "{books:?}");
    say(&format!("  passed in {:?}", begun.elapsed()));
    say(&format!("    sender: {}", seen[0]));
    say(&format!("    receiver: {}", seen[1]));
    seen[0].check(PEAK);
    seen[1].check(PEAK);
    let waiting = settled_memory(&pair.beta);
    say(&format!("    receiver, all waiting: {waiting}"));
    waiting.check(RECEIVER);
}

/// Puts all; answers their ids in the order they were put.
fn put_all(node: &Node) -> Vec<Id> {
    let bodies = (0..count()).map(|seed| body(seed).bytes());
    let put = node.client().put_many(&to_beta(), bodies);
    let put = put.expect("the daemon answers");
    assert_eq!((put.ids.len() as u64, put.refused), (count(), vec![]));
    put.ids
}

const fn body(seed: u64) -> Body {
    Body {
        seed,
        length: LENGTH,
    }
}

/// Ends the sender and starts it with all of it waiting; answers how long a start took.
fn restart(pair: &mut Pair) -> Duration {
    pair.alpha.end().terminate();
    let begun = Instant::now();
    pair.start_alpha();
    let ready = begun.elapsed();
    assert_eq!(pair.alpha.process().rescued(), 0);
    assert!(ready < Duration::from_secs(5), "{ready:?} until ready");
    ready
}

/// Kills the sender with a window in flight to a peer that does not answer, and starts it
/// again; answers what was rescued and how long the start took.
fn restart_in_flight(pair: &mut Pair) -> (u64, Duration) {
    pair.start_beta();
    pair.wait_for_link();
    wait_for("some to have passed", PATIENCE, || {
        (pair.alpha.books().acked > 0).then_some(())
    });
    pair.beta.process().freeze();
    let mut last = 0;
    wait_for("the window to be in flight", PATIENCE, || {
        let inflight = pair.alpha.status().queue_depth.inflight;
        let rests = inflight > 0 && inflight == last;
        last = inflight;
        rests.then_some(())
    });
    pair.alpha.end().kill9();
    let begun = Instant::now();
    pair.start_alpha();
    let ready = begun.elapsed();
    let rescued = pair.alpha.process().rescued();
    assert!(rescued > 0, "nothing was in flight");
    assert!(ready < Duration::from_secs(5), "{ready:?} until ready");
    pair.beta.process().thaw();
    (rescued, ready)
}

/// Takes and confirms until nothing is left; answers how often each was taken, in the
/// order of `ids`.
fn take_all(node: &Node, ids: &[Id]) -> Vec<u8> {
    let mut known: Vec<(Id, u64)> = ids.iter().copied().zip(0..).collect();
    known.sort_unstable();
    let mut times = vec![0u8; ids.len()];
    let which = InboxTake {
        max: 1_000,
        ..InboxTake::default()
    };
    let mut client = node.client();
    loop {
        let taken = client.take(&which).expect("it gives what it has");
        if taken.is_empty() {
            return times;
        }
        let mut done = Vec::with_capacity(taken.len());
        for (item, bytes) in taken {
            let at = known.binary_search_by_key(&item.segment_id, |(id, _)| *id);
            let seed = known[at.expect("it was put")].1;
            assert_eq!(bytes, body(seed).bytes(), "{}", item.segment_id);
            times[usize::try_from(seed).expect("an index")] += 1;
            done.push(item.segment_id);
        }
        let confirmed = client.confirm(&done).expect("they are ours");
        assert_eq!(confirmed.confirmed as usize, done.len());
    }
}

/// What a process has of memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// All of it, as the kernel counts.
    resident: u64,
    /// What of it is no file's: stack and heap.
    own: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} KiB ({} own)", self.resident >> 10, self.own >> 10)
    }
}

impl Memory {
    /// A debug build maps four times the code that a release has; what is its own is held
    /// to the bound less what a release maps.
    fn check(self, most: u64) {
        match cfg!(debug_assertions) {
            true => assert!(self.own <= most - CODE, "{self}"),
            false => assert!(self.resident <= most, "{self}"),
        }
    }
}

fn memory(node: &Node) -> Memory {
    Memory {
        resident: node.process().memory("VmRSS"),
        own: node.process().memory("RssAnon"),
    }
}

/// The least of several looks, since a thread that has just ended still counts.
fn settled_memory(node: &Node) -> Memory {
    let (mut least, mut looks) = (memory(node), 0);
    wait_for("some looks", PATIENCE, || {
        let now = memory(node);
        if now.resident < least.resident {
            least = now;
        }
        looks += 1;
        (looks == 40).then_some(least)
    })
}

/// What was seen of a daemon while work was done: the most of each.
#[derive(Debug, Default)]
struct Seen {
    wal: AtomicU64,
    resident: AtomicU64,
    own: AtomicU64,
    looks: AtomicU64,
    answers: AtomicU64,
}

impl Seen {
    fn of(what: &AtomicU64) -> u64 {
        what.load(Ordering::Relaxed)
    }

    /// Nothing passed its bound at any look.
    fn check(&self, most: u64) {
        assert!(
            Self::of(&self.looks) > 0 && Self::of(&self.answers) > 0,
            "{self}"
        );
        assert!(Self::of(&self.wal) <= WAL, "{self}");
        let (resident, own) = (Self::of(&self.resident), Self::of(&self.own));
        Memory { resident, own }.check(most);
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "WAL at most {} KiB, memory {} KiB ({} own) in {} looks beside {} answers",
            Self::of(&self.wal) >> 10,
            Self::of(&self.resident) >> 10,
            Self::of(&self.own) >> 10,
            Self::of(&self.looks),
            Self::of(&self.answers)
        )
    }
}

/// Does `work` while three clients ask each of `nodes` whatever can be asked, and its
/// memory and SQLite's log are looked at.
fn beside<T>(nodes: &[&Node], work: impl FnOnce() -> T) -> (T, Vec<Seen>) {
    let seen: Vec<Seen> = nodes.iter().map(|_| Seen::default()).collect();
    let done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        for (node, seen) in nodes.iter().zip(&seen) {
            let done = &done;
            scope.spawn(move || look(node, seen, done));
            for asker in [ask_lists, ask_stories, ask_sums] {
                scope.spawn(move || {
                    let mut client = node.client();
                    while !done.load(Ordering::Relaxed) {
                        asker(&mut client, seen, done);
                    }
                });
            }
        }
        let _ended = Ended(&done);
        work()
    });
    (result, seen)
}

/// Says that it is done when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look(node: &Node, seen: &Seen, done: &AtomicBool) {
    let wal = node.home.state().join("ledger.db-wal");
    wait_for("the work to be done", 2 * LONG, || {
        let length = std::fs::metadata(&wal).map_or(0, |file| file.len());
        let memory = memory(node);
        seen.wal.fetch_max(length, Ordering::Relaxed);
        seen.resident.fetch_max(memory.resident, Ordering::Relaxed);
        seen.own.fetch_max(memory.own, Ordering::Relaxed);
        seen.looks.fetch_add(1, Ordering::Relaxed);
        done.load(Ordering::Relaxed).then_some(())
    });
}

/// An answer was given: a question may find nothing any more, or come while much is asked.
fn note<T>(seen: &Seen, answer: Result<T, ClientError>) -> Option<T> {
    seen.answers.fetch_add(1, Ordering::Relaxed);
    match answer {
        Ok(answer) => Some(answer),
        Err(ClientError::Refused(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Pages of all deliveries and of the whole inbox, from end to end.
fn ask_lists(client: &mut Client, seen: &Seen, done: &AtomicBool) {
    let (mut deliveries, mut inbox) = (RelayList::default(), InboxList::default());
    (deliveries.page.limit, inbox.page.limit) = (1_000, 1_000);
    while !done.load(Ordering::Relaxed) {
        let page = note(seen, client.deliveries(&deliveries));
        deliveries.page.after = page.and_then(|page| page.next);
        let page = note(seen, client.inbox(&inbox));
        inbox.page.after = page.and_then(|page| page.next);
    }
}

/// One segment after the other, of those put here and those that arrived: what became of
/// it, and why.
fn ask_stories(client: &mut Client, seen: &Seen, done: &AtomicBool) {
    let (mut segments, mut inbox) = (SegmentList::default(), InboxList::default());
    (segments.page.limit, inbox.page.limit) = (100, 100);
    while !done.load(Ordering::Relaxed) {
        let mut ids = Vec::new();
        let page = note(seen, client.list(&segments));
        ids.extend(
            page.iter()
                .flat_map(|page| page.items.iter().map(|item| item.segment_id)),
        );
        segments.page.after = page.and_then(|page| page.next);
        let page = note(seen, client.inbox(&inbox));
        ids.extend(
            page.iter()
                .flat_map(|page| page.items.iter().map(|item| item.segment_id)),
        );
        inbox.page.after = page.and_then(|page| page.next);
        for id in ids.iter().step_by(10) {
            let segment = id.to_string();
            note(seen, client.inspect(&segment));
            let peer = None;
            note(seen, client.why(&RelayWhy { segment, peer }));
        }
    }
}

/// Sums, books and the audit.
fn ask_sums(client: &mut Client, seen: &Seen, _done: &AtomicBool) {
    note(seen, client.status(&RelayStatus { books: true }));
    note(seen, client.why_all());
    note(seen, client.audit(&AuditQuery::default()));
    note(seen, client.audit_verify());
    note(seen, client.lanes(&LaneList::default()));
}
