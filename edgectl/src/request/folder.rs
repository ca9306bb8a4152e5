//! `segment put` of a whole folder: every regular file under it, one segment each.
//!
//! Each file goes under a key made of what the file is (inode, length, time of change) and
//! of where it goes, so that the same command, given again after whatever stopped it,
//! stores nothing twice within a day. A file that changes meanwhile is another file. Links,
//! pipes and the like are passed over and named. What one file is refused for stops no
//! other; what all would be refused for stops the command.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use edged_rpc::{Accepted, ClientError, Producer, PutOptions, Target};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::fcntl::OFlag;
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::render::{self, plain};
use crate::units;

/// The label that says what a file was called, as a spool sets it.
const LABEL: &str = "file";
/// A label's value is no longer (semantics 1).
const LONGEST_LABEL: usize = 256;
/// What is left of a key's 128 B beside what a file adds.
const LONGEST_KEY: usize = 32;
/// What is passed over is named so often; all of it is counted.
const NAMED: usize = 100;
/// Refusals that the next file would meet as well.
const FOR_ALL: [&str; 12] = [
    "storage_full",
    "draining",
    "unknown",
    "unknown_peer",
    "unknown_lane",
    "unknown_route",
    "lane_reserved",
    "no_route",
    "bad_topic",
    "bad_success",
    "bad_label",
    "permission_denied",
];

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    folder: String,
    files: u64,
    bytes: u64,
    /// Of these, stored by this command.
    stored: u64,
    /// Of these, stored before.
    known: u64,
    skipped: u64,
    refused: u64,
    /// Names and reasons of what was skipped or refused, as far as there is room.
    passed_over: Vec<PassedOver>,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    path: String,
    why: String,
}

/// Puts all of `folder`.
pub(super) fn put(
    folder: &Path,
    options: &PutOptions,
    key: Option<&str>,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    let mut summary = Summary {
        folder: folder.display().to_string(),
        ..Summary::default()
    };
    let files = walk(folder, &mut summary)?;
    if key.is_some_and(|key| key.len() > LONGEST_KEY) {
        let message = format!("a key for a folder has at most {LONGEST_KEY} B");
        return Err(Failure::new(
            Exit::Usage,
            "bad_key",
            message,
            "each file adds what it is",
        ));
    }
    let prefix = key.map_or_else(|| to_key(options), str::to_owned);
    let mut producer = context.producer();
    // Before anything is read: nobody there is code 3, whatever lies in the folder.
    producer.client()?;
    let bar = bar(
        context.console.interactive && !context.globals.json(),
        &files,
    );
    let mut stopped = None;
    for (path, metadata) in &files {
        let shown = path.strip_prefix(folder).unwrap_or(path);
        match put_one(&mut producer, options, &prefix, (path, shown), metadata) {
            Ok(accepted) => {
                summary.files += 1;
                summary.bytes += metadata.len();
                *(if accepted.known {
                    &mut summary.known
                } else {
                    &mut summary.stored
                }) += 1;
                let line = || format!("{}  {}\n", accepted.segment_id, plain_path(shown));
                context.print(|json| if json { String::new() } else { line() })?;
            }
            Err(ClientError::Refused(error)) if !FOR_ALL.contains(&error.code.as_str()) => {
                summary.refused += 1;
                summary.pass_over(shown, &error.to_string());
            }
            Err(ClientError::Source(error)) => {
                summary.refused += 1;
                summary.pass_over(shown, &format!("cannot be read: {error}"));
            }
            Err(error) => {
                stopped = Some(error);
                break;
            }
        }
        bar.inc(metadata.len());
    }
    bar.finish_and_clear();
    finish(&summary, stopped, files.len() as u64, context)
}

fn finish(
    summary: &Summary,
    stopped: Option<ClientError>,
    all: u64,
    context: &mut Context<'_, '_>,
) -> Result<(), Failure> {
    for passed in &summary.passed_over {
        context.say(&format!("passed over {}: {}", passed.path, passed.why));
    }
    context.print(|json| match json {
        true => render::document("segment.put_folder/1", summary),
        false => String::new(),
    })?;
    let mut words = format!(
        "put {} of {all} files, {}",
        summary.files,
        units::bytes(summary.bytes)
    );
    for (count, what) in [
        (summary.known, "stored before"),
        (summary.skipped, "skipped"),
        (summary.refused, "refused"),
    ] {
        if count > 0 {
            words += &format!("; {count} {what}");
        }
    }
    context.say(&words);
    context.flush()?;
    match (stopped, summary.refused) {
        (Some(error), _) => Err(error.into()),
        (None, 0) => Ok(()),
        (None, refused) => Err(Failure::new(
            Exit::Refused,
            "some_refused",
            format!("{refused} of {all} files were not put"),
            "the same command again puts only what is missing",
        )),
    }
}

impl Summary {
    fn pass_over(&mut self, path: &Path, why: &str) {
        if self.passed_over.len() < NAMED {
            self.passed_over.push(PassedOver {
                path: plain_path(path),
                why: plain(why),
            });
        }
    }

    fn skip(&mut self, path: &Path, why: &str) {
        self.skipped += 1;
        self.pass_over(path, why);
    }
}

/// All regular files under `folder`, by name, folder by folder.
fn walk(folder: &Path, summary: &mut Summary) -> Result<Vec<(PathBuf, Metadata)>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let unusable = |error: io::Error| Failure::file("read", &next, &error);
        let entries = fs::read_dir(&next).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(unusable)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut below = Vec::new();
        for entry in entries {
            let path = entry.path();
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It has gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unusable(error)),
            };
            let kind = metadata.file_type();
            if kind.is_dir() {
                below.push(path);
            } else if kind.is_file() {
                files.push((path, metadata));
            } else {
                let shown = path.strip_prefix(folder).unwrap_or(&path);
                summary.skip(shown, "it is no regular file");
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(files)
}

fn put_one(
    producer: &mut Producer,
    options: &PutOptions,
    prefix: &str,
    (path, shown): (&Path, &Path),
    metadata: &Metadata,
) -> Result<Accepted, ClientError> {
    let file = open_listed(path, metadata).map_err(ClientError::Source)?;
    let key = format!(
        "{prefix}:{}:{}:{}:{}.{}",
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    let mut options = options.clone();
    let named = options.labels.iter().any(|(name, _)| name == LABEL);
    if let Some(label) = shown.to_str().filter(|text| !named && is_label(text)) {
        options.labels.push((LABEL.to_owned(), label.to_owned()));
    }
    producer.put_from(&options, &key, file)
}

/// Opens what was listed, and nothing that has taken its place since: what a link there
/// leads to is nobody's business, and a pipe would keep us waiting.
fn open_listed(path: &Path, listed: &Metadata) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) == (listed.dev(), listed.ino()) && found.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("another file has taken its place"))
}

fn is_label(text: &str) -> bool {
    text.len() <= LONGEST_LABEL && !text.chars().any(char::is_control)
}

/// What tells this command's puts from those of the same files elsewhere: FNV-1a over
/// where they go and what they say.
fn to_key(options: &PutOptions) -> String {
    let mut text = format!("{:?}", options.target);
    if let Target::Peers(peers) = &options.target {
        let mut peers = peers.clone();
        peers.sort();
        text = peers.join(",");
    }
    text += &format!("|{}|{:?}|{:?}", options.lane, options.topic, options.labels);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("edgectl:{hash:016x}")
}

fn plain_path(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

fn bar(shown: bool, files: &[(PathBuf, Metadata)]) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let total = files.iter().map(|(_, metadata)| metadata.len()).sum();
    let style = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta}";
    let style = ProgressStyle::with_template(style).expect("a sound template");
    ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_name_in_all_folders_and_what_is_no_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("b/deep")).expect("folders");
        for name in ["z", "a", "b/deep/x", "b/y"] {
            fs::write(path(name), name).expect("a file");
        }
        std::os::unix::fs::symlink("/etc/passwd", path("link")).expect("a link");
        let mut summary = Summary::default();

        let files = walk(dir.path(), &mut summary).expect("they are listed");

        let names: Vec<_> = files
            .iter()
            .map(|(file, _)| file.strip_prefix(dir.path()).expect("below").to_owned())
            .collect();
        assert_eq!(names, ["a", "z", "b/y", "b/deep/x"].map(PathBuf::from));
        assert_eq!(
            (summary.skipped, summary.passed_over[0].path.as_str()),
            (1, "link")
        );
    }

    #[test]
    fn what_takes_the_place_of_a_listed_file_is_not_opened() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "listed").expect("a file");
        fs::write(&other, "secret").expect("a file");
        let listed = fs::metadata(&path).expect("it is there");

        assert!(open_listed(&path, &listed).is_ok());
        fs::remove_file(&path).expect("it goes");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert!(open_listed(&path, &listed).is_err(), "a link");
        fs::rename(&other, &path).expect("another file");
        assert!(open_listed(&path, &listed).is_err(), "another file");
    }

    #[test]
    fn keys_tell_apart_where_files_go_and_not_in_which_order_peers_were_named() {
        let to = |peers: &[&str]| PutOptions {
            target: Target::Peers(peers.iter().map(|&peer| peer.to_owned()).collect()),
            ..PutOptions::to_peer("x")
        };

        assert_eq!(to_key(&to(&["a", "b"])), to_key(&to(&["b", "a"])));
        assert_ne!(to_key(&to(&["a"])), to_key(&to(&["b"])));
        let urgent = PutOptions {
            lane: "alarm".to_owned(),
            ..to(&["a"])
        };
        assert_ne!(to_key(&urgent), to_key(&to(&["a"])));
        let (most, least) = (u64::MAX, i64::MIN);
        let longest = format!("{}:{most}:{most}:{most}:{least}.999999999", to_key(&urgent));
        assert!(longest.len() <= 128, "{}", longest.len());
    }
}
