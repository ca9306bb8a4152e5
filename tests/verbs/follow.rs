//! `inbox follow --exec` with real daemons: each payload reaches the command, what it
//! leaves is confirmed or comes again, and a signal that ends the follower ends its commands.
//! The example of `edged-rpc` that follows is run here, too.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::daemon::{PATIENCE, to_beta, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::CTL;
use super::inbox::Inbox;

/// A file of these lines of shell, which a shell is to run.
fn program(folder: &Path, lines: &str) -> String {
    let path = folder.join("program");
    fs::write(&path, format!("cd {}\n{lines}\n", folder.display())).expect("a file");
    format!("sh {}", path.display())
}

#[test]
fn each_payload_reaches_the_command_and_what_fails_stays_and_comes_again() {
    let large = vec![b'x'; 3 << 20];
    let inbox = Inbox::with(94, &[b"one", b"poor", &large, b"four", b"", b"six"]);
    let folder = inbox.folder("out");
    // The poor one fails the first time it is run.
    let lines = "cat > $EDGED_SEGMENT_ID.part\n\
                 if grep -q ^poor $EDGED_SEGMENT_ID.part && mkdir tried 2> /dev/null; then exit 3; fi\n\
                 test $EDGED_ORIGIN = alpha && mv $EDGED_SEGMENT_ID.part $EDGED_SEGMENT_ID";
    let command = program(&folder, lines);

    let said = start(&inbox, &format!("--max 7 --exec {command}")).words();

    let poor = inbox.bodies.iter().find(|(_, body)| *body == b"poor");
    let failed = format!(
        "{} failed, try 1 of 8: exit status: 3\n",
        poor.expect("it arrived").0
    );
    assert_eq!(said.matches(&failed).count(), 1, "{said}");
    assert_eq!(said.lines().count(), 7, "{said}");
    for id in &inbox.ids {
        assert_eq!(
            said.matches(&format!("{id} confirmed\n")).count(),
            1,
            "{said}"
        );
        let bytes = fs::read(folder.join(id)).expect("it was run to its end");
        assert!(bytes == inbox.bodies[id], "{id}");
    }
    assert_eq!(inbox.in_state("confirmed").len(), 6);
}

#[test]
fn what_failed_is_not_confirmed_when_the_follower_ends() {
    let inbox = Inbox::with(95, &[b"one"]);
    let (id, file) = (&inbox.ids[0], inbox.folder("out").join("got"));

    let said = start(&inbox, "--max 1 --exec false").words();

    assert_eq!(said, format!("{id} failed, try 1 of 8: exit status: 1\n"));
    assert_eq!(
        inbox.listed("inbox list"),
        [(id.clone(), "leased".to_owned())]
    );
    inbox.must(&format!("inbox get {id} -o {}", file.display()));
    assert_eq!(fs::read(file).expect("it is written"), b"one");
}

#[test]
fn a_signal_that_ends_the_follower_ends_its_commands_and_what_they_started() {
    let inbox = Inbox::with(96, &[b"one"]);
    let folder = inbox.folder("out");
    // A shell may clear its own mask; what it has started has the one it was given.
    let lines = "sleep 86400 > /dev/null 2>&1 &\necho $! $$ > pids.part\n\
                 grep SigBlk /proc/$!/status > blocked\nmv pids.part pids\nwait";
    let command = program(&folder, lines);
    let mut all = start(&inbox, &format!("--exec {command}"));

    let pids = wait_for("the command to run", PATIENCE, || {
        fs::read_to_string(folder.join("pids")).ok()
    });
    all.1
        .extend(pids.split_whitespace().flat_map(str::parse::<i32>));
    let pid = i32::try_from(all.0.id()).expect("a process id is a pid_t");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    let ended = all.0.wait().expect("it ends");

    assert_eq!((ended.signal(), all.1.len()), (Some(15), 2), "{ended}");
    let blocked = fs::read_to_string(folder.join("blocked")).expect("it was written");
    assert!(blocked.ends_with("\t0000000000000000\n"), "{blocked}");
    wait_for("both to have ended", PATIENCE, || {
        all.1.iter().all(|pid| is_gone(*pid)).then_some(())
    });
}

#[test]
fn the_example_prints_what_arrives_confirms_it_and_ends_after_so_many() {
    let inbox = Inbox::with(97, &[b"one", b"two"]);
    let mut example = Command::new(env!("CARGO_BIN_EXE_example-follow"));
    example.arg(inbox.pair.beta.home.socket()).arg("3");
    let all = spawn(&mut example);

    // It waits for the third, which comes last.
    wait_for("two to be printed and confirmed", PATIENCE, || {
        (inbox.in_state("confirmed").len() == 2).then_some(())
    });
    let put = inbox.pair.alpha.client().put(&to_beta(), b"three");
    let third = put.expect("it is put").segment_id;
    let said = all.words();

    let lines: Vec<String> = ["one", "two"]
        .iter()
        .zip(&inbox.ids)
        .map(|(word, id)| format!("{id}: {word}\n"))
        .collect();
    assert_eq!(said, lines.concat() + &format!("{third}: three\n"));
    assert_eq!(inbox.in_state("confirmed").len(), 3);
}

/// `inbox follow` with these words behind it.
fn start(inbox: &Inbox, line: &str) -> Family {
    let mut follower = Command::new(CTL.0);
    follower
        .arg("--socket")
        .arg(inbox.pair.beta.home.socket())
        .args(["inbox", "follow"])
        .args(line.split(' '));
    spawn(&mut follower)
}

fn spawn(follower: &mut Command) -> Family {
    let follower = follower.stdin(Stdio::null()).stdout(Stdio::piped());
    Family(follower.spawn().expect("it runs"), Vec::new())
}

/// A follower, and what it has started: none of them outlives the test, though it fails.
struct Family(Child, Vec<i32>);

impl Family {
    /// What it prints until it ends by itself.
    fn words(mut self) -> String {
        let ended = wait_for("following to end", PATIENCE, || {
            self.0.try_wait().expect("it is ours")
        });
        let (mut said, mut out) = (String::new(), self.0.stdout.take().expect("it is piped"));
        out.read_to_string(&mut said).expect("text");
        assert!(ended.success(), "{ended}: {said}");
        said
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // Those that have ended are what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
        for pid in self.1.iter().filter(|pid| !is_gone(**pid)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// A process that was killed is there for a moment more, until it has been scheduled.
fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}
