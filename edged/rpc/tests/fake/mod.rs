//! A daemon of a few lines: one connection, one script, on a thread.

#![allow(unreachable_pub, dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use edged_rpc::frame::{decode, encode, prefix};
use edged_rpc::{Greeting, Hello, Request, Response, VERSION, Welcome};
use tempfile::TempDir;

/// A running fake; its script's panics come out of `finish`.
pub struct Fake {
    _dir: TempDir,
    pub socket: PathBuf,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Accepts one client, greets it and runs `script`.
    pub fn run(script: impl FnOnce(&mut Session) + Send + 'static) -> Self {
        Self::run_raw(|session| {
            let hello: Hello = decode(&session.raw()).expect("a hello");
            assert_eq!(hello.version, VERSION);
            session.send(&Greeting::Welcome(welcome(VERSION)));
            script(session);
        })
    }

    /// Accepts one client and runs `script` without a greeting.
    pub fn run_raw(script: impl FnOnce(&mut Session) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = dir.path().join("rpc.sock");
        let listener = UnixListener::bind(&socket).expect("a fresh path");
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            script(&mut Session { stream, listener });
        });
        Self {
            _dir: dir,
            socket,
            thread,
        }
    }

    pub fn finish(self) {
        self.thread.join().expect("the script ran to its end");
    }
}

pub fn welcome(version: u16) -> Welcome {
    Welcome {
        version,
        node: "alpha".into(),
        software: "fake".into(),
        boot_epoch: 7,
    }
}

/// The daemon's side of one conversation.
pub struct Session {
    stream: UnixStream,
    listener: UnixListener,
}

impl Session {
    /// Greets the client that comes next, in place of this one.
    pub fn next(&mut self) {
        self.stream = self.listener.accept().expect("another client").0;
        let _: Hello = decode(&self.raw()).expect("a hello");
        self.send(&Greeting::Welcome(welcome(VERSION)));
    }

    pub fn hear(&mut self) -> Request {
        decode(&self.raw()).expect("a request")
    }

    pub fn raw(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a length");
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.stream.read_exact(&mut body).expect("a body");
        body
    }

    /// Raw chunks up to the empty one.
    pub fn payload(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = self.raw();
            if chunk.is_empty() {
                return all;
            }
            all.extend(chunk);
        }
    }

    pub fn say(&mut self, response: &Response) {
        self.send(response);
    }

    pub fn send(&mut self, message: &impl serde::Serialize) {
        let mut out = Vec::new();
        encode(message, &mut out).expect("small");
        self.stream.write_all(&out).expect("a client that listens");
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(&prefix(bytes.len()))
            .expect("a client that listens");
        self.stream.write_all(bytes).expect("a client that listens");
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a client that listens");
    }

    /// Waits until the client hangs up.
    pub fn until_gone(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}
