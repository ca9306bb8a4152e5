//! The path of the socket: whose it is, and what is never replaced.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use edged::config::Rpc;
use edged::socket::{Socket, SocketError};

use crate::world::Home;

fn rpc(path: &Path) -> Rpc {
    Rpc {
        socket: path.to_owned(),
        group: "no-such-group-of-edged".into(),
        operators: String::new(),
        max_connections: 4,
    }
}

#[tokio::test]
async fn a_fresh_path_is_taken_with_its_mode_and_given_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rpc.sock");

    let socket = Socket::bind(&rpc(&path)).expect("free");

    let found = fs::symlink_metadata(&path).expect("there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("thesis.tex");
    fs::write(&file, "years of work").expect("written");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("linked");

    for (path, what) in [
        (file.as_path(), "a file"),
        (dir.path(), "a folder"),
        (link.as_path(), "a symbolic link"),
    ] {
        let error = Socket::bind(&rpc(path)).expect_err("not a socket");

        assert!(matches!(error, SocketError::NotASocket { .. }));
        let text = error.to_string();
        assert!(
            text.contains("a socket path that is not a socket"),
            "{text}"
        );
        assert!(text.contains(what), "{text}");
    }
    assert_eq!(fs::read(&file).expect("there"), b"years of work");
}

#[tokio::test]
async fn a_socket_at_which_somebody_answers_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rpc.sock");
    let first = Socket::bind(&rpc(&path)).expect("free");

    let error = Socket::bind(&rpc(&path)).expect_err("taken");

    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    assert!(path.exists());
    drop(first);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rpc.sock");
    drop(UnixListener::bind(&path).expect("free"));
    assert!(path.exists(), "a listener leaves its file behind");

    let socket = Socket::bind(&rpc(&path));

    assert!(socket.is_ok(), "{socket:?}");
}

#[tokio::test]
async fn a_socket_put_in_our_place_is_not_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("rpc.sock");
    let ours = Socket::bind(&rpc(&path)).expect("free");
    fs::remove_file(&path).expect("removed under us");
    let _theirs = UnixListener::bind(&path).expect("free");

    drop(ours);

    assert!(path.exists());
}

#[test]
fn the_daemon_gives_its_path_back() {
    let home = Home::new();

    home.start().stop();

    assert!(!home.socket().exists());
    assert!(home.path("alpha").exists());
}
