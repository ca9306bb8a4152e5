//! How a command ends: the exit codes, and what is said when it is not code 0.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use edged_rpc::{ClientError, ErrorKind as RpcKind, RpcError};
use serde::Serialize;

use crate::render::{json_line, plain};

/// The exit codes of `edgectl`; a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or what was asked already holds.
    Done = 0,
    /// The daemon refused, or something failed.
    Refused = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nobody answers at the socket.
    NoDaemon = 3,
    /// There is no such segment, peer, lane or route.
    NotFound = 4,
    /// Not for this user.
    Permission = 5,
    /// No progress within `--timeout`.
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command stopped short.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read our output has read enough: a quiet success.
    BrokenPipe,
    /// Something to say.
    Told {
        /// With which code to end.
        exit: Exit,
        /// For programs, `snake_case`.
        code: String,
        /// What was found.
        message: String,
        /// What to try next; may be empty.
        hint: String,
    },
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: String, hint: &str) -> Self {
        Self::Told {
            exit,
            code: code.to_owned(),
            message,
            hint: hint.to_owned(),
        }
    }

    /// The command line could not be read: clap's first line, the rest as the hint.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let mut paragraphs = text.splitn(2, "\n\n");
        let message = join_words(paragraphs.next().unwrap_or_default());
        let hint = join_words(paragraphs.next().unwrap_or_default());
        Self::new(Exit::Usage, "usage", message, &hint)
    }

    /// Our own output could not be written.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::new(
            Exit::Refused,
            "cannot_write",
            format!("cannot write output: {error}"),
            "",
        )
    }

    /// A file or folder named on the command line could not be used.
    pub(crate) fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {verb} {}: {error}", path.display());
        Self::new(Exit::Refused, "file_unusable", message, "")
    }

    /// Says it on `err`, as text or JSON, and gives the code.
    pub(crate) fn tell(self, json: bool, err: &mut dyn Write) -> Exit {
        let Self::Told {
            exit,
            code,
            message,
            hint,
        } = self
        else {
            return Exit::Done;
        };
        let said = if json {
            let error = Said {
                code: &code,
                message: &message,
                hint: &hint,
            };
            json_line(&ErrorDocument { error })
        } else if hint.is_empty() {
            format!("edgectl: {} ({})\n", plain(&message), plain(&code))
        } else {
            format!(
                "edgectl: {} ({})\nhint: {}\n",
                plain(&message),
                plain(&code),
                plain(&hint)
            )
        };
        // Nowhere is left to report that stderr is gone.
        drop(err.write_all(said.as_bytes()));
        exit
    }
}

/// `{"error":{"code","message","hint"}}`.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: Said<'a>,
}

#[derive(Serialize)]
struct Said<'a> {
    code: &'a str,
    message: &'a str,
    hint: &'a str,
}

fn join_words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        let exit = match error.kind {
            RpcKind::Refused | RpcKind::Unsupported | RpcKind::Failed => Exit::Refused,
            RpcKind::NotFound => Exit::NotFound,
            RpcKind::Permission => Exit::Permission,
            RpcKind::Invalid => Exit::Usage,
        };
        Self::Told {
            exit,
            code: error.code,
            message: error.message,
            hint: error.hint,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let (exit, code, hint) = match error {
            ClientError::Refused(error) => return error.into(),
            ClientError::Sink(error) => return Self::output(error),
            ClientError::NoDaemon { .. } => (
                Exit::NoDaemon,
                "no_daemon",
                "start it (systemctl start edged), or name its socket with --socket",
            ),
            ClientError::NotAllowed { .. } => (
                Exit::Permission,
                "permission_denied",
                "members of group edged may use the socket",
            ),
            ClientError::TimedOut(_) => (
                Exit::TimedOut,
                "timed_out",
                "allow more with --timeout, e.g. --timeout 1m",
            ),
            ClientError::HungUp => (
                Exit::Refused,
                "hung_up",
                "its log says why (journalctl -u edged)",
            ),
            ClientError::OtherVersion { .. } => (
                Exit::Refused,
                "version_mismatch",
                "use the edgectl that came with this edged",
            ),
            ClientError::Frame(_) | ClientError::OffScript { .. } => {
                (Exit::Refused, "protocol", "is this socket edged's?")
            }
            ClientError::Source(_) => (Exit::Refused, "unreadable_input", ""),
            ClientError::Socket(_) => (Exit::Refused, "socket", ""),
            ClientError::AnswersDue { .. } | ClientError::Broken => (Exit::Refused, "internal", ""),
        };
        Self::new(exit, code, message, hint)
    }
}
