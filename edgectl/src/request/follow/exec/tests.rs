//! A command on items of a daemon of a few lines: how many at once, how often, how long.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use edged_rpc::{Confirmed, Digest, Id, InboxView, Moment, Page, Request, Response};

use super::*;
use crate::Console;
use crate::cli::{Cli, InboxVerb, Noun};
use fake::{Fake, Session};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "../../../../../edged/rpc/tests/fake/mod.rs"]
mod fake;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// What `follow --max MAX --exec COMMAND` prints, where nothing rests.
fn follow(fake: &Fake, run: Duration, max: &str, command: &[&str]) -> String {
    let words = ["edgectl", "inbox", "follow", "--max", max, "--exec"];
    let cli = Cli::try_parse_from(words.iter().chain(command)).expect("it can be read");
    let Noun::Inbox(InboxVerb::Follow(args)) = cli.noun else {
        panic!("not follow")
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        stdin: &mut io::empty(),
        out: &mut out,
        err: &mut err,
        terminal: false,
        interactive: false,
    };
    let mut context = Context {
        globals: cli.globals,
        console: &mut console,
    };
    let mut client = Client::connect(&fake.socket, LONG).expect("it answers");
    let first = Duration::ZERO;
    let rest = Rest {
        first,
        longest: LONG,
    };
    let ended = super::run(&args, Pace { run, rest }, &mut client, &mut context);
    assert!(ended.is_ok(), "{ended:?}");
    String::from_utf8(out).expect("text")
}

fn item(n: u8) -> InboxView {
    InboxView {
        segment_id: Id([n; 16]),
        origin: "beta".into(),
        via: "beta".into(),
        lane: "default".into(),
        lane_sequence: 5,
        topic: None,
        labels: BTreeMap::new(),
        len: 3,
        digest: Digest([2; 32]),
        received_at: Moment(1_000),
        state: LeaseState::Leased,
        leased_until: None,
        takes: 1,
    }
}

fn hand_out(daemon: &mut Session, items: Vec<InboxView>) {
    let count = items.len();
    daemon.say(&Response::Items(items));
    for _ in 0..count {
        daemon.send_raw(b"abc");
    }
    if count > 0 {
        daemon.send_raw(b"");
    }
    daemon.say(&Response::Done);
}

/// What a daemon was asked.
#[derive(Debug, Default)]
struct Heard {
    requests: Vec<Request>,
    /// At each take: items that are leased and not settled, those asked for among them.
    leased: Vec<u32>,
}

/// A daemon with so many items, each leased once, until all are settled.
fn daemon(items: u8) -> (Fake, Arc<Mutex<Heard>>) {
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let hears = Arc::clone(&heard);
    let fake = Fake::run(move |daemon| {
        let (mut given, mut settled) = (0, 0);
        while settled < items {
            let request = daemon.hear();
            let mut heard = hears.lock().expect("sound");
            if let Request::InboxTake(take) = &request {
                heard.leased.push(u32::from(given - settled) + take.max);
                let end = items.min(given + u8::try_from(take.max).expect("a few"));
                hand_out(daemon, (given..end).map(item).collect());
                given = end;
            } else if let Request::InboxGet(_) = &request {
                hand_out(daemon, vec![item(0)]);
            } else if let Request::InboxWait(_) = &request {
                let (items, total, next) = (vec![], 0, None);
                daemon.say(&Response::Inbox(Page { items, total, next }));
            } else {
                settled += 1;
                daemon.say(&Response::Confirmed(Confirmed::default()));
            }
            heard.requests.push(request);
        }
    });
    (fake, heard)
}

#[test]
fn no_more_than_four_run_at_once() {
    let (fake, heard) = daemon(20);

    let out = follow(&fake, LONG, "20", &["true"]);

    fake.finish();
    assert_eq!(out.matches(" confirmed\n").count(), 20, "{out}");
    let most = heard.lock().expect("sound").leased.iter().copied().max();
    assert_eq!(most, Some(4));
}

#[test]
fn what_fails_is_run_again_under_its_lease_and_parked_after_eight_tries() {
    let (fake, heard) = daemon(1);

    let out = follow(&fake, LONG, "8", &["sh", "-c", "test \"$(cat)\" != abc"]);

    fake.finish();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 8, "{out}");
    for (n, line) in lines[..7].iter().enumerate() {
        let words = format!(" failed, try {} of 8: exit status: 1", n + 1);
        assert!(line.ends_with(&words), "{line}");
    }
    assert!(
        lines[7].ends_with(" refused after 8 tries: exit status: 1"),
        "{out}"
    );
    let heard = &heard.lock().expect("sound").requests;
    let gets = heard.iter().filter(|r| matches!(r, Request::InboxGet(_)));
    assert_eq!(gets.count(), 7);
    assert!(matches!(heard.last(), Some(Request::InboxRefuse(_))));
}

#[test]
fn one_that_takes_too_long_is_ended_with_what_it_has_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = folder.path().join("child");
    let fake = Fake::run(|daemon| {
        daemon.hear();
        hand_out(daemon, vec![item(0)]);
        daemon.until_gone();
    });
    let lines = format!(
        "sleep 86400 > /dev/null 2>&1 & echo $! > {}; wait",
        child.display()
    );

    // Long enough for a shell to start on a machine with much to do.
    let run = Duration::from_secs(5);
    let out = follow(&fake, run, "1", &["sh", "-c", &lines]);

    assert!(
        out.ends_with("failed, try 1 of 8: ended after 5 s\n"),
        "{out}"
    );
    let pid = fs::read_to_string(child).expect("it has started one");
    let (stat, begun) = (format!("/proc/{}/stat", pid.trim()), Instant::now());
    while !is_gone(&stat) && begun.elapsed() < LONG {
        std::thread::yield_now();
    }
    let gone = is_gone(&stat);
    if !gone {
        let pid = pid.trim().parse().expect("a number");
        // It must not outlive the test that it fails.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    assert!(gone, "what it has started runs on");
    fake.finish();
}

/// A process that was killed is there for a moment more, until it has been scheduled.
fn is_gone(stat: &str) -> bool {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}
