//! `edgectl` against a node, as an operator types it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use edgectl::Exit;

/// The binary of `edgectl`.
#[derive(Debug, Clone, Copy)]
pub struct Ctl(pub &'static str);

/// What a command said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// How it ended.
    pub exit: Exit,
    /// Data.
    pub out: String,
    /// Words about it.
    pub err: String,
}

/// Every way to end.
const EXITS: [Exit; 7] = [
    Exit::Done,
    Exit::Refused,
    Exit::Usage,
    Exit::NoDaemon,
    Exit::NotFound,
    Exit::Permission,
    Exit::TimedOut,
];

impl Said {
    /// The code in what it said about an error; empty if it ended well.
    #[must_use]
    pub fn code(&self) -> &str {
        let line = self.err.lines().find(|line| line.starts_with("edgectl: "));
        let code = line.and_then(|line| line.rsplit_once('('));
        code.map_or("", |(_, code)| code.trim_end_matches(')'))
    }
}

impl Ctl {
    /// Runs one command line, split at spaces, against the daemon at `socket`.
    ///
    /// # Panics
    /// If it cannot be run, ends in no way it may, or says something that is not text.
    #[must_use]
    pub fn ask(self, socket: &Path, line: &str) -> Said {
        Self::run(Command::new(self.0), socket, line)
    }

    /// The same, as the user of this uid and the group of the same number.
    ///
    /// # Panics
    /// As [`Ctl::ask`], and if this process may not become somebody else.
    #[must_use]
    pub fn ask_as(self, uid: u32, socket: &Path, line: &str) -> Said {
        let mut command = Command::new(self.0);
        command.uid(uid).gid(uid);
        Self::run(command, socket, line)
    }

    fn run(mut command: Command, socket: &Path, line: &str) -> Said {
        command.arg("--socket").arg(socket);
        command.args(line.split_whitespace()).stdin(Stdio::null());
        let done = command.output();
        let done = done.unwrap_or_else(|error| panic!("edgectl cannot be run: {error}"));
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (out, err) = (text(done.stdout), text(done.stderr));
        let exit = |exit: &Exit| done.status.code() == Some(*exit as i32);
        let exit = EXITS.into_iter().find(exit);
        let exit = exit.unwrap_or_else(|| panic!("{line}: {}: {err}", done.status));
        Said { exit, out, err }
    }
}
