//! From system calls to what they did to the files of one folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::daemon::{Call, Recording};

/// One thing a process did; paths are seen from the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file was opened, made if it was not there, emptied if `empty`.
    Open {
        /// Which.
        file: PathBuf,
        /// Whether what it held is gone.
        empty: bool,
    },
    /// Bytes were written.
    Write {
        /// To which file.
        file: PathBuf,
        /// Where.
        at: u64,
        /// Which.
        bytes: Vec<u8>,
    },
    /// A file was cut, or grew by zeros.
    Length {
        /// Which.
        file: PathBuf,
        /// How long it is.
        to: u64,
    },
    /// A file or a folder was synced.
    Sync {
        /// Which.
        path: PathBuf,
    },
    /// A sync of a file failed.
    FailedSync {
        /// Which.
        path: PathBuf,
    },
    /// A folder was made.
    Folder {
        /// Which.
        path: PathBuf,
    },
    /// A file was unlinked.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// A line on standard output.
    Said(String),
}

/// Calls that would change files in ways that no step tells.
const UNTOLD: [&str; 8] = [
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "fallocate",
    "pwritev",
    "pwritev2",
];

/// What a recorded process did in `folder`, in order, and what it said.
///
/// # Panics
/// If a call cannot be told as a step, or was recorded in part.
#[must_use]
pub fn steps(recording: &Recording, folder: &Path) -> Vec<Step> {
    let mut told = Told {
        folder,
        at: BTreeMap::new(),
        steps: Vec::new(),
    };
    let done = recording
        .calls
        .iter()
        .filter(|call| call.result >= 0 || is_sync(&call.name));
    done.for_each(|call| told.tell(call));
    told.steps
}

fn is_sync(name: &str) -> bool {
    matches!(name, "fsync" | "fdatasync")
}

struct Told<'a> {
    folder: &'a Path,
    /// Where each descriptor stands in its file.
    at: BTreeMap<String, u64>,
    steps: Vec<Step>,
}

impl Told<'_> {
    /// The path of what a call is about, if it lies in the folder and has a name.
    fn inside(&self, path: &[u8]) -> Option<PathBuf> {
        let path = String::from_utf8_lossy(path);
        let path = Path::new(&*path).strip_prefix(self.folder).ok()?;
        let known = !path.to_string_lossy().ends_with("(deleted)");
        known.then(|| path.to_path_buf())
    }

    fn tell(&mut self, call: &Call) {
        let name = call.name.as_str();
        let of_file = self.inside(call.file.as_bytes());
        let number = |n: usize| call.words.get(n).and_then(|word| word.parse::<u64>().ok());
        let descriptor = call.words.first().cloned().unwrap_or_default();
        let step = match (name, of_file) {
            ("openat", _) => {
                self.at.insert(call.result.to_string(), 0);
                let Some(file) = self.inside(&call.bytes) else {
                    return;
                };
                let flags = call.words.get(2).map_or("", String::as_str);
                let has = |flag| flags.split('|').any(|word| word == flag);
                assert!(!has("O_APPEND"), "{} is appended to", file.display());
                let empty = has("O_TRUNC");
                (has("O_CREAT") || empty).then_some(Step::Open { file, empty })
            }
            ("mkdir" | "mkdirat", _) => self.inside(&call.bytes).map(|path| Step::Folder { path }),
            ("unlink" | "unlinkat", _) => {
                self.inside(&call.bytes).map(|path| Step::Remove { path })
            }
            ("write", _) if descriptor == "1" => {
                let said = String::from_utf8_lossy(&call.bytes).into_owned();
                let lines = said.lines().map(|line| Step::Said(line.to_owned()));
                self.steps.extend(lines);
                None
            }
            ("write" | "pwrite64", Some(file)) => {
                assert_eq!(call.bytes.len() as i64, call.result, "a write was cut");
                let at = match name {
                    "pwrite64" => number(call.words.len() - 1).expect("an offset"),
                    _ => {
                        let at = self.at.entry(descriptor).or_default();
                        *at += call.result as u64;
                        *at - call.result as u64
                    }
                };
                let bytes = call.bytes.clone();
                Some(Step::Write { file, at, bytes })
            }
            ("lseek", Some(_)) => {
                self.at.insert(descriptor, call.result as u64);
                None
            }
            ("ftruncate", Some(file)) => Some(Step::Length {
                file,
                to: number(call.words.len() - 1).expect("a length"),
            }),
            (name, Some(path)) if is_sync(name) => Some(match call.result {
                0 => Step::Sync { path },
                _ => Step::FailedSync { path },
            }),
            (_, of_file) => {
                let about = of_file.or_else(|| self.inside(&call.bytes));
                // Room that is set aside beyond the end is no content.
                let aside = call
                    .words
                    .get(1)
                    .is_some_and(|w| w == "FALLOC_FL_KEEP_SIZE");
                let untold = UNTOLD.contains(&name) && about.is_some() && !aside;
                assert!(!untold, "no step tells of {call:?}");
                None
            }
        };
        self.steps.extend(step);
    }
}
