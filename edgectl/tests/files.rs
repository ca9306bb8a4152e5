//! Commands that move bytes: `get` and `take`, to standard output and to files.

#[path = "../../edged/rpc/tests/fake/mod.rs"]
mod fake;
mod sample;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use edgectl::Exit;
use edged_rpc::{Confirmed, ErrorKind, InboxView, Request, Response, RpcError};
use fake::{Fake, Session};
use sample::*;

const ID: &str = "seg-01010101010101010101010101010101";

#[test]
fn segment_get_writes_bytes_to_standard_output() {
    let fake = Fake::run(|daemon| send_segment(daemon, b"abc"));

    let said = edgectl_at(&fake.socket, &["segment", "get", "seg-01"], b"");

    said.is(Exit::Done, "abc", "");
    fake.finish();
}

#[test]
fn segment_get_to_a_file_leaves_only_the_whole_file() {
    let dir = folder();
    let target = dir.path().join("out.bin");
    let path = target.to_str().expect("plain");
    let fake = Fake::run(|daemon| send_segment(daemon, b"abc"));

    let said = edgectl_at(&fake.socket, &["segment", "get", "seg-01", "-o", path], b"");

    said.is(Exit::Done, "", &format!("wrote 3 B to {path}\n"));
    assert_eq!(fs::read(&target).expect("there"), b"abc");
    assert_eq!(names(dir.path()), ["out.bin"]);
    fake.finish();
}

#[test]
fn a_get_cut_short_leaves_no_file() {
    let dir = folder();
    let target = dir.path().join("out.bin");
    let path = target.to_str().expect("plain");
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Items(vec![item()]));
        daemon.send_raw(b"a");
        daemon.send_raw(b"");
        daemon.say(&Response::Error(RpcError::new(
            ErrorKind::Failed,
            "corrupt",
            "bad digest",
        )));
    });

    let said = edgectl_at(&fake.socket, &["inbox", "get", "seg-01", "-o", path], b"");

    said.is(Exit::Refused, "", "edgectl: bad digest (corrupt)\n");
    assert!(names(dir.path()).is_empty());
    fake.finish();
}

#[test]
fn take_without_a_folder_prints_the_items() {
    let run = |args: &[&str]| {
        let fake = Fake::run(|daemon| {
            let Request::InboxTake(take) = daemon.hear() else {
                panic!("not a take")
            };
            assert_eq!(take.max, 7);
            send_items(daemon, &[(item(), b"abc")]);
        });
        let said = edgectl_at(&fake.socket, args, b"");
        fake.finish();
        said
    };

    let text = run(&["inbox", "take", "--max", "7"]);
    text.has(ID);
    text.has("\n1 item taken\n");
    text.errs("leased: fetch each with");
    let json = run(&["inbox", "take", "--max", "7", "--json"]);
    json.has(r#"{"schema":"inbox.take/1","items":[{"segment_id":"seg-0101"#);
    json.has("\"total\":1,\"next\":null,\"confirmed\":0}\n");
}

#[test]
fn take_into_a_folder_names_files_by_id_and_confirms_what_is_written() {
    let dir = folder();
    let inside = dir.path().to_path_buf();
    let fake = Fake::run(move |daemon| {
        daemon.hear();
        let mut nasty = item();
        nasty.topic = Some("../../etc/passwd".into());
        send_items(daemon, &[(nasty, b"abc")]);
        let Request::InboxConfirm(confirm) = daemon.hear() else {
            panic!("not a confirm")
        };
        assert_eq!(confirm.ids.0, [id()]);
        assert_eq!(names(&inside), [format!("{ID}.bin"), format!("{ID}.json")]);
        daemon.say(&Response::Confirmed(Confirmed {
            confirmed: 1,
            ..Confirmed::default()
        }));
    });
    let path = dir.path().to_str().expect("plain");

    let said = edgectl_at(
        &fake.socket,
        &["inbox", "take", "--dir", path, "--json"],
        b"",
    );

    said.has("\"confirmed\":1}\n");
    fake.finish();
    let read = |end: &str| fs::read(dir.path().join(format!("{ID}.{end}"))).expect("there");
    assert_eq!(read("bin"), b"abc");
    let words = String::from_utf8(read("json")).expect("text");
    assert!(
        words.starts_with(r#"{"schema":"inbox.item/1","segment_id":"seg-0101"#),
        "{words}"
    );
}

#[test]
fn take_into_a_folder_that_is_not_there_leases_nothing() {
    let dir = folder();
    let nowhere = dir.path().join("nowhere");
    let path = nowhere.to_str().expect("plain");

    let said = edgectl_at(
        Path::new("/nowhere"),
        &["inbox", "take", "--dir", path],
        b"",
    );

    assert_eq!(said.exit, Exit::Refused);
    said.errs("edgectl: cannot write into ");
}

#[test]
fn a_take_that_breaks_off_confirms_what_it_wrote_and_says_why() {
    let dir = folder();
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Items(vec![item()]));
        daemon.send_raw(b"abc");
        daemon.send_raw(b"");
        daemon.say(&Response::Error(RpcError::new(
            ErrorKind::Failed,
            "io",
            "disk trouble",
        )));
        daemon.hear();
        daemon.say(&Response::Confirmed(Confirmed {
            confirmed: 1,
            ..Confirmed::default()
        }));
    });
    let path = dir.path().to_str().expect("plain");

    let said = edgectl_at(&fake.socket, &["inbox", "take", "--dir", path], b"");

    assert_eq!(said.exit, Exit::Refused);
    assert!(said.out.ends_with("1 item taken\n"), "{}", said.out);
    said.errs("edgectl: disk trouble (io)\n");
    fake.finish();
}

#[test]
fn a_broken_pipe_is_a_quiet_success() {
    let fake = Fake::run(|daemon| {
        daemon.hear();
        daemon.say(&Response::Segment(edged_rpc::SegmentView {
            len: 3,
            ..segment()
        }));
        daemon.send_raw(b"abc");
        daemon.until_gone();
    });
    let socket = fake.socket.to_str().expect("plain");
    let args = ["edgectl", "--socket", socket, "segment", "get", "seg-01"];
    let mut err = Vec::new();

    let exit = edgectl::run(args, &mut io::empty(), &mut Closed, &mut err);

    assert_eq!((exit, err.len()), (Exit::Done, 0));
    fake.finish();
}

/// An output whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send_segment(daemon: &mut Session, bytes: &[u8]) {
    let Request::SegmentGet(get) = daemon.hear() else {
        panic!("not a get")
    };
    assert_eq!(get.segment, "seg-01");
    let len = bytes.len() as u64;
    daemon.say(&Response::Segment(edged_rpc::SegmentView {
        len,
        ..segment()
    }));
    daemon.send_raw(bytes);
    daemon.send_raw(b"");
    daemon.say(&Response::Done);
}

fn send_items(daemon: &mut Session, items: &[(InboxView, &[u8])]) {
    daemon.say(&Response::Items(
        items.iter().map(|(item, _)| item.clone()).collect(),
    ));
    for (_, bytes) in items {
        daemon.send_raw(bytes);
    }
    daemon.send_raw(b"");
    daemon.say(&Response::Done);
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("there");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().expect("plain"))
        .collect();
    names.sort();
    names
}
