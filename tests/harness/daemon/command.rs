//! `edgectl` against a node, as an operator types it.

use std::ffi::OsString;
use std::path::Path;

use edgectl::Exit;

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

impl Said {
    /// The code in what it said about an error; empty if it ended well.
    #[must_use]
    pub fn code(&self) -> &str {
        let line = self.err.lines().find(|line| line.starts_with("edgectl: "));
        let code = line.and_then(|line| line.rsplit_once('('));
        code.map_or("", |(_, code)| code.trim_end_matches(')'))
    }
}

/// Runs one command line, split at spaces, against the daemon at `socket`.
///
/// # Panics
/// If it says something that is not text.
#[must_use]
pub fn edgectl(socket: &Path, line: &str) -> Said {
    let mut args: Vec<OsString> = vec!["edgectl".into(), "--socket".into(), socket.into()];
    args.extend(line.split_whitespace().map(OsString::from));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = edgectl::run(args, &mut std::io::empty(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said {
        exit,
        out: text(out),
        err: text(err),
    }
}
