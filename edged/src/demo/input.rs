//! What the demo relays: files as they are, or segments made of seeded bytes.
//!
//! An [`Item`] can be read any number of times and gives the same bytes each
//! time, so that what arrived can be judged by reading the source again. The
//! list is bounded; what is no regular file is passed over inside a folder and
//! refused when it was named.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use edged_rpc::Digest;
use relay_core::limits::{MAX_KEY, MAX_SEGMENT};

use crate::cli::DemoArgs;

/// Items of one demo: each is kept by name and id until the end, some 200 bytes.
const MOST_ITEMS: usize = 1_000_000;
/// Folders inside folders; a file system loop ends here.
const DEEPEST: usize = 64;
/// Bytes of a label's value (semantics 1).
const LONGEST_LABEL: usize = 256;

/// One segment to be.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// How many bytes it has.
    pub(super) len: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    Seeded(u32),
}

/// What the command line asks to relay.
///
/// # Errors
/// A path that cannot be read, nothing to relay, or more than the demo holds.
pub(super) fn gather(args: &DemoArgs) -> Result<Vec<Item>> {
    let items = match (args.segments, args.size) {
        (Some(count), Some(size)) => seeded(count, size.0)?,
        (None, _) | (_, None) if args.paths.is_empty() => files(&default_paths()?)?,
        (None, _) | (_, None) => files(&args.paths)?,
    };
    ensure!(
        !items.is_empty(),
        "nothing to relay: no file found (name one, or --segments N --size S)"
    );
    for item in &items {
        let (name, len) = (item.name(), item.len);
        ensure!(
            len <= MAX_SEGMENT,
            "{name} has {len} bytes, a segment at most {MAX_SEGMENT}"
        );
    }
    Ok(items)
}

impl Item {
    /// What people call it: its path, or its number.
    #[must_use]
    pub(super) fn name(&self) -> String {
        match &self.source {
            Source::File(path) => path.display().to_string(),
            Source::Seeded(number) => format!("seeded/{number}"),
        }
    }

    /// Its name as a label may say it: no control characters, and its end if it
    /// is too long.
    #[must_use]
    pub(super) fn label(&self) -> String {
        let plain: String = self
            .name()
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        let from = plain.len().saturating_sub(LONGEST_LABEL);
        let from = (from..=plain.len()).find(|at| plain.is_char_boundary(*at));
        plain[from.unwrap_or(plain.len())..].to_owned()
    }

    /// The key under which its put may be repeated: its name, or a digest of it
    /// where that is too long.
    #[must_use]
    pub(super) fn key(&self) -> String {
        let name = match &self.source {
            Source::File(path) => path.as_os_str().as_encoded_bytes().to_vec(),
            Source::Seeded(_) => self.name().into_bytes(),
        };
        match String::from_utf8(name) {
            Ok(name) if name.len() <= MAX_KEY => name,
            Ok(long) => blake3::hash(long.as_bytes()).to_string(),
            Err(odd) => blake3::hash(odd.as_bytes()).to_string(),
        }
    }

    /// Its bytes, from the start.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(&self) -> Result<Box<dyn Read>> {
        match &self.source {
            Source::File(path) => {
                let file = File::open(path).with_context(|| format!("file {}", path.display()))?;
                Ok(Box::new(file))
            }
            Source::Seeded(number) => {
                let bytes = blake3::Hasher::new()
                    .update(&number.to_le_bytes())
                    .finalize_xof();
                Ok(Box::new(bytes.take(self.len)))
            }
        }
    }

    /// Length and digest of its bytes as they are at this moment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn digest(&self) -> Result<(u64, Digest)> {
        let mut hasher = blake3::Hasher::new();
        let len = io::copy(&mut self.open()?, &mut hasher)
            .with_context(|| format!("file {}", self.name()))?;
        Ok((len, Digest(*hasher.finalize().as_bytes())))
    }
}

fn seeded(count: u32, len: u64) -> Result<Vec<Item>> {
    let most = u32::try_from(MOST_ITEMS).unwrap_or(u32::MAX);
    ensure!(
        count <= most,
        "{count} segments are more than the demo holds ({MOST_ITEMS})"
    );
    Ok((0..count)
        .map(|number| Item {
            len,
            source: Source::Seeded(number),
        })
        .collect())
}

fn files(paths: &[PathBuf]) -> Result<Vec<Item>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| format!("path {}", path.display()))?;
        if kind.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            ensure!(
                kind.is_file(),
                "path {} is neither file nor folder",
                path.display()
            );
            found.insert(path.clone());
        }
    }
    // A file named twice in two spellings is one file.
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    for path in found {
        let real = path
            .canonicalize()
            .with_context(|| format!("file {}", path.display()))?;
        if seen.insert(real) {
            let len = fs::metadata(&path)
                .with_context(|| format!("file {}", path.display()))?
                .len();
            items.push(Item {
                len,
                source: Source::File(path),
            });
        }
    }
    Ok(items)
}

/// All regular files below `dir`, but those of version control.
fn walk(dir: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    ensure!(
        depth <= DEEPEST,
        "folder {} lies more than {DEEPEST} folders deep",
        dir.display()
    );
    let entries = fs::read_dir(dir).with_context(|| format!("folder {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("folder {}", dir.display()))?;
        let path = entry.path();
        let kind = entry
            .file_type()
            .with_context(|| format!("path {}", path.display()))?;
        if kind.is_dir() && entry.file_name() != ".git" {
            walk(&path, depth + 1, found)?;
        } else if kind.is_file() {
            if found.len() == MOST_ITEMS {
                bail!("more than {MOST_ITEMS} files below {}", dir.display());
            }
            found.insert(path);
        }
    }
    Ok(())
}

/// The tracked files of the repository we stand in; without one, all that lies
/// in the current folder.
fn default_paths() -> Result<Vec<PathBuf>> {
    let Some(top) = git(&["rev-parse", "--show-toplevel"]) else {
        return Ok(vec![PathBuf::from(".")]);
    };
    let top = top.trim_end_matches('\n').to_owned();
    let listed = git(&["-C", &top, "ls-files", "-z"]).context("git lists no files here")?;
    let paths = listed
        .split_terminator('\0')
        .map(|name| Path::new(&top).join(name));
    // What is tracked may be gone, a link or another repository.
    let regular = |path: &PathBuf| path.symlink_metadata().is_ok_and(|kind| kind.is_file());
    let paths: Vec<PathBuf> = paths.filter(regular).collect();
    ensure!(
        !paths.is_empty(),
        "the repository {top} tracks no file (name a PATH)"
    );
    Ok(paths)
}

fn git(words: &[&str]) -> Option<String> {
    let asked = Command::new("git")
        .args(words)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    asked
        .status
        .success()
        .then(|| String::from_utf8(asked.stdout).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_bytes_are_the_same_each_time_and_differ_by_number() {
        let items = seeded(2, 100).expect("few enough");

        let first = items[0].digest().expect("readable");

        assert_eq!(first.0, 100);
        assert_eq!(first, items[0].digest().expect("readable"));
        assert_ne!(first, items[1].digest().expect("readable"));
    }

    #[test]
    fn a_long_or_odd_name_still_makes_a_label_and_a_key() {
        let long = format!("{}\n{}", "é".repeat(200), "x".repeat(50));
        let item = Item {
            len: 0,
            source: Source::File(long.into()),
        };

        assert!(item.label().len() <= LONGEST_LABEL);
        assert!(item.label().ends_with(&format!("?{}", "x".repeat(50))));
        assert!(item.key().len() <= MAX_KEY);
    }

    #[test]
    fn a_file_named_twice_is_relayed_once() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a"), b"a").expect("written");
        let twice = [
            dir.path().to_owned(),
            dir.path().join("../").join(dir.path()).join("a"),
        ];

        let items = files(&twice).expect("readable");

        assert_eq!(items.len(), 1);
    }
}
