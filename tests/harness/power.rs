//! What a power cut leaves of files: a model of the page cache, over a recording of
//! system calls.
//!
//! [`Step`] is what one process did to the files of a folder, and what it said meanwhile.
//! A [`Cache`] takes steps one by one and can be asked at any of them for a folder as a
//! power cut might leave it ([`Cache::lose`]): what was synced is there; each sector of a
//! file (512 B) is as it stood at some moment since the file's last sync, and so is the
//! file's length; each name of a folder is as it stood at some moment since the folder's
//! last sync. A file's sync says nothing of its name. That is less than any journaling
//! file system keeps, and all that POSIX promises. A sync that failed has lost what it was
//! to keep, though it still reads as if it were there.
//!
//! What lies under `-shm` is memory that SQLite makes anew, and is never kept.

mod content;
mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::seeds::Dice;
use content::Content;

pub use steps::{Step, steps};

/// The files of one folder: as a process sees them, and what of it is on stable storage.
#[derive(Clone, Debug)]
pub struct Cache {
    nodes: Vec<Node>,
}

/// A file or a folder, named or not.
#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Folder(Names),
}

/// The names in a folder.
#[derive(Clone, Debug, Default)]
struct Names {
    synced: BTreeMap<String, usize>,
    now: BTreeMap<String, usize>,
    /// What happened since the last sync: a name was given to a node, or taken away.
    since: Vec<(String, Option<usize>)>,
}

/// The folder itself.
const ROOT: usize = 0;

impl Cache {
    /// Files as they lie in `folder`, all of it on stable storage.
    ///
    /// # Panics
    /// If the folder cannot be read.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let mut cache = Self { nodes: Vec::new() };
        cache.read(folder);
        cache
    }

    fn read(&mut self, folder: &Path) -> usize {
        let own = self.nodes.len();
        self.nodes.push(Node::Folder(Names::default()));
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("a name in it");
            let name = entry.file_name().to_string_lossy().into_owned();
            let node = if entry.path().is_dir() {
                self.read(&entry.path())
            } else {
                let bytes = fs::read(entry.path()).expect("a file");
                self.add(Node::File(Content::synced(bytes)))
            };
            names.insert(name, node);
        }
        self.nodes[own] = Node::Folder(Names {
            now: names.clone(),
            synced: names,
            since: Vec::new(),
        });
        own
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The process does one thing more.
    ///
    /// # Panics
    /// If it does so to a file that is not there: the recording is not whole.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Open { file, empty } => {
                let node = self.find(file).unwrap_or_else(|| {
                    let node = self.add(Node::File(Content::default()));
                    self.name(file, Some(node));
                    node
                });
                if *empty && let Node::File(content) = &mut self.nodes[node] {
                    content.set_length(0);
                }
            }
            Step::Write { file, at, bytes } => self.file(file).write(*at, bytes),
            Step::Length { file, to } => self.file(file).set_length(*to),
            Step::Sync { path } => match self.find(path).map(|node| &mut self.nodes[node]) {
                Some(Node::File(content)) => content.sync(),
                Some(Node::Folder(names)) => {
                    names.synced = names.now.clone();
                    names.since.clear();
                }
                None => panic!("{} is synced and is not there", path.display()),
            },
            Step::FailedSync { path } => {
                // A folder's names may still come by themselves.
                if let Some(Node::File(content)) = self.find(path).map(|n| &mut self.nodes[n]) {
                    content.fail_sync();
                }
            }
            Step::Folder { path } => {
                let node = self.add(Node::Folder(Names::default()));
                self.name(path, Some(node));
            }
            Step::Remove { path } => self.name(path, None),
            Step::Said(_) => {}
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.iter()
            .try_fold(ROOT, |at, name| match &self.nodes[at] {
                Node::Folder(names) => names.now.get(&*name.to_string_lossy()).copied(),
                Node::File(_) => None,
            })
    }

    fn file(&mut self, path: &Path) -> &mut Content {
        let node = self.find(path);
        match node.map(|node| &mut self.nodes[node]) {
            Some(Node::File(content)) => content,
            Some(Node::Folder(_)) | None => panic!("{} is no file", path.display()),
        }
    }

    fn name(&mut self, path: &Path, node: Option<usize>) {
        let folder = self.find(path.parent().unwrap_or(Path::new("")));
        let name = path.file_name().expect("a name").to_string_lossy();
        let Some(Node::Folder(names)) = folder.map(|folder| &mut self.nodes[folder]) else {
            panic!("{} is in no folder", path.display());
        };
        match node {
            Some(node) => names.now.insert(name.to_string(), node),
            None => names.now.remove(&*name),
        };
        names.since.push((name.into_owned(), node));
    }

    /// Writes into the empty folder `into` what a power cut at this moment might leave.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn lose(&self, dice: &mut Dice, into: &Path) {
        let mut left: Vec<(usize, PathBuf)> = vec![(ROOT, into.to_path_buf())];
        while let Some((node, path)) = left.pop() {
            match &self.nodes[node] {
                Node::File(content) => {
                    fs::write(&path, content.lose(dice)).expect("room for a file");
                }
                Node::Folder(names) => {
                    if node != ROOT {
                        fs::create_dir(&path).expect("room for a folder");
                    }
                    let kept = names.lose(dice).into_iter();
                    let kept = kept.filter(|(name, _)| !name.ends_with("-shm"));
                    left.extend(kept.map(|(name, node)| (node, path.join(name))));
                }
            }
        }
    }
}

impl Names {
    /// Each name as it stood at some moment: the same for all, or one of its own.
    fn lose(&self, dice: &mut Dice) -> BTreeMap<String, usize> {
        let all = self.since.len() as u64;
        let together = dice.chance(500).then(|| dice.between(0, all));
        let mut moments: BTreeMap<&str, u64> = BTreeMap::new();
        let mut kept = self.synced.clone();
        for (at, (name, node)) in (0..).zip(&self.since) {
            let moment = together
                .unwrap_or_else(|| *moments.entry(name).or_insert_with(|| dice.between(0, all)));
            if at < moment {
                match node {
                    Some(node) => kept.insert(name.clone(), *node),
                    None => kept.remove(name),
                };
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(steps: &[Step]) -> Cache {
        let empty = tempfile::tempdir().expect("a folder");
        let mut cache = Cache::of(empty.path());
        steps.iter().for_each(|step| cache.take(step));
        cache
    }

    /// What `name` holds after each of many power cuts.
    fn found(cache: &Cache, name: &str) -> Vec<Option<Vec<u8>>> {
        let mut seen: Vec<_> = (0..400)
            .map(|seed| {
                let left = tempfile::tempdir().expect("a folder");
                cache.lose(&mut Dice::new(seed), left.path());
                fs::read(left.path().join(name)).ok()
            })
            .collect();
        seen.sort();
        seen.dedup();
        seen
    }

    fn open(name: &str) -> Step {
        Step::Open {
            file: name.into(),
            empty: false,
        }
    }

    fn write(name: &str, at: u64, bytes: &[u8]) -> Step {
        Step::Write {
            file: name.into(),
            at,
            bytes: bytes.to_vec(),
        }
    }

    fn sync(path: &str) -> Step {
        Step::Sync { path: path.into() }
    }

    #[test]
    fn what_is_synced_with_its_name_is_always_there() {
        let cache = after(&[open("a"), write("a", 0, b"abc"), sync("a"), sync("")]);

        assert_eq!(found(&cache, "a"), [Some(b"abc".to_vec())]);
    }

    #[test]
    fn a_name_that_is_not_synced_may_be_gone() {
        let cache = after(&[open("a"), write("a", 0, b"abc"), sync("a")]);

        assert_eq!(found(&cache, "a"), [None, Some(b"abc".to_vec())]);
    }

    #[test]
    fn a_removed_file_may_come_back() {
        let remove = Step::Remove { path: "a".into() };
        let cache = after(&[open("a"), write("a", 0, b"x"), sync("a"), sync(""), remove]);

        assert_eq!(found(&cache, "a"), [None, Some(b"x".to_vec())]);
    }

    #[test]
    fn what_a_failed_sync_lost_comes_with_no_later_one_but_where_it_is_written_again() {
        let failed = Step::FailedSync { path: "a".into() };
        let lost = [write("a", 0, &[1; 8192]), failed, write("a", 4100, &[2])];
        let before = [open("a"), sync("a"), sync("")];

        let cache = after(&[&before[..], &lost, &[sync("a")]].concat());

        let mut wanted = [[0; 4096], [1; 4096]].concat();
        wanted[4100] = 2;
        assert_eq!(found(&cache, "a"), [Some(wanted)]);
    }

    #[test]
    fn an_unsynced_write_is_kept_dropped_or_torn_at_a_sector() {
        let old = vec![1; 1024];
        let cache = after(&[
            open("a"),
            write("a", 0, &old),
            sync("a"),
            sync(""),
            write("a", 0, &[2; 1024]),
        ]);

        let halves = |a: u8, b: u8| Some([[a; 512], [b; 512]].concat());
        let wanted = [halves(1, 1), halves(1, 2), halves(2, 1), halves(2, 2)];
        assert_eq!(found(&cache, "a"), wanted);
    }
}
