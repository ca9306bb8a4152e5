//! The files of one spool folder: listed, opened, taken away.
//!
//! Everything here waits for the disk. A file is moved aside before it is removed, so
//! that one which a producer renames over it at that moment is seen, and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};
use relay_core::id::SegmentId;
use relay_core::spool::{self, FileMark, Kind, Seen, Verdict};

use crate::folder::Folder;

/// Names with something to do listed at once: what is put of them is gone before the next
/// are read.
const PAGE: usize = 4096;
/// Names listed that are passed over: each is named once an hour, and a few a minute.
const PASSED: usize = 64;

/// A name in the folder, of any bytes; the empty one stands for the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(CString);

impl Name {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => write!(f, "\"{}\"", self.bytes().escape_ascii()),
        }
    }
}

/// A name that was listed.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// It.
    pub(super) name: Name,
    /// What it stood for.
    pub(super) seen: Seen,
    /// What is to be done with it.
    pub(super) verdict: Verdict,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: Folder,
}

impl Files {
    pub(super) const fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// When names in it changed last; `None` if that cannot be told.
    pub(super) fn changed(&self) -> Option<(i64, i64)> {
        let stat = self.folder.look().ok()?;
        Some((stat.st_mtime, stat.st_mtime_nsec))
    }

    /// Whether it was removed.
    pub(super) fn is_gone(&self) -> bool {
        self.folder.look().is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Names with which something is to be done, oldest first, and whether these are all.
    pub(super) fn list(
        &self,
        known: &BTreeMap<FileMark, SegmentId>,
        shunned: &BTreeSet<FileMark>,
        most: u64,
    ) -> io::Result<(Vec<Found>, bool)> {
        let writable = self.folder.is_writable();
        let folder = self.folder.look()?;
        let (mut found, mut complete) = (Vec::new(), true);
        let (mut wanted, mut passed) = (0, 0);
        for entry in self.folder.list()?.iter() {
            let entry = entry?;
            let name = Name(entry.file_name().to_owned());
            if matches!(name.bytes(), b"." | b"..") {
                continue;
            }
            let stat = match self.stat(&name.0) {
                Ok(stat) => stat,
                // It has gone since it was listed.
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let seen = seen(&stat, writable, &folder);
            let verdict = spool::judge(name.bytes(), &seen, known.contains_key(&seen.mark), most);
            let (count, most) = match verdict {
                Verdict::Leave => continue,
                Verdict::Put if shunned.contains(&seen.mark) => continue,
                Verdict::Put | Verdict::Remove | Verdict::Restore => (&mut wanted, PAGE),
                Verdict::PassOver(_) => (&mut passed, PASSED),
            };
            if *count == most {
                // More that is passed over changes nothing; more to do waits for a page.
                if !matches!(verdict, Verdict::PassOver(_)) {
                    complete = false;
                    break;
                }
                continue;
            }
            *count += 1;
            found.push(Found {
                name,
                seen,
                verdict,
            });
        }
        found.sort_by(|a, b| (a.seen.mark.modified, &a.name).cmp(&(b.seen.mark.modified, &b.name)));
        Ok((found, complete))
    }

    /// Opens a file that was listed; `None` if it is another by now.
    pub(super) fn open(&self, found: &Found) -> io::Result<Option<File>> {
        // A pipe in its place must not keep us waiting.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(self.folder.as_fd(), &*found.name.0, flags, Mode::empty());
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT | Errno::ELOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(is_still(&file, found)?.then_some(file))
    }

    /// Removes these, each by itself; whether each was removed, which it is not if it was
    /// no longer there under its name.
    pub(super) fn remove_all(&self, which: &[Found]) -> Vec<(Found, io::Result<bool>)> {
        let removed = which
            .iter()
            .map(|found| (found.clone(), self.remove(found).map_err(Into::into)));
        removed.collect()
    }

    /// Removes a file if it is still what it was.
    fn remove(&self, found: &Found) -> nix::Result<bool> {
        let (folder, mark) = (self.folder.as_fd(), found.seen.mark);
        let is_it =
            |name: &CStr| Ok(self.stat(name)).map(|stat| stat.map(|stat| mark_of(&stat) == mark));
        match is_it(&found.name.0)? {
            Ok(true) => {}
            Ok(false) | Err(Errno::ENOENT) => return Ok(false),
            Err(error) => return Err(error),
        }
        let aside = CString::new(spool::aside_name(mark.inode)).expect("it has no zero");
        if aside != found.name.0 {
            renameat(folder, &*found.name.0, folder, &*aside)?;
            if !matches!(is_it(&aside)?, Ok(true)) {
                // A newer file was renamed to this name between the two: it is put in
                // its turn. One newer still takes its place, as it would have without us.
                return self.name_again(&aside, &found.name.0).map(|()| false);
            }
        }
        unlinkat(folder, &*aside, UnlinkatFlags::NoRemoveDir).map(|()| true)
    }

    /// Gives a file that was moved aside and never put a name under which it is found.
    pub(super) fn restore(&self, aside: &Name) -> io::Result<()> {
        let name = aside.bytes().strip_prefix(b".").unwrap_or_default();
        let name = CString::new(name).expect("part of a name");
        Ok(self.name_again(&aside.0, &name)?)
    }

    fn name_again(&self, aside: &CStr, name: &CStr) -> nix::Result<()> {
        let folder = self.folder.as_fd();
        match linkat(folder, aside, folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => unlinkat(folder, aside, UnlinkatFlags::NoRemoveDir),
            // FAT has no links.
            Err(_) => renameat(folder, aside, folder, name),
        }
    }

    /// Makes what was removed stay so.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }

    fn stat(&self, name: &CStr) -> nix::Result<FileStat> {
        fstatat(self.folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

/// Whether an open file is the one that was listed, unchanged.
pub(super) fn is_still(file: &File, found: &Found) -> io::Result<bool> {
    let stat = fstat(file.as_fd())?;
    let same = kind(&stat) == Kind::File && mark_of(&stat) == found.seen.mark;
    Ok(same && stat.st_nlink == 1)
}

fn seen(stat: &FileStat, writable: bool, folder: &FileStat) -> Seen {
    let sticky = folder.st_mode & libc::S_ISVTX != 0;
    let owners = (geteuid().as_raw(), folder.st_uid, stat.st_uid);
    Seen {
        kind: kind(stat),
        links: links(stat),
        mark: mark_of(stat),
        removable: spool::may_remove(writable, sticky, owners),
    }
}

/// `nlink_t` has 32 bits on some machines and 64 on others.
#[allow(clippy::useless_conversion)]
fn links(stat: &FileStat) -> u64 {
    stat.st_nlink.into()
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Folder,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Special,
    }
}

fn mark_of(stat: &FileStat) -> FileMark {
    FileMark {
        inode: stat.st_ino,
        length: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MOST: u64 = 1000;

    struct Site {
        dir: tempfile::TempDir,
        files: Files,
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let state = dir.path().join("state");
            fs::create_dir(dir.path().join("spool")).expect("a folder");
            let folder = Folder::open(&dir.path().join("spool"), &state).expect("it is there");
            Self {
                files: Files::new(folder),
                dir,
            }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join("spool").join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).expect("a file");
        }

        fn list(&self) -> Vec<Found> {
            let (found, complete) = self.list_without(&BTreeSet::new());
            assert!(complete);
            found
        }

        fn list_without(&self, shunned: &BTreeSet<FileMark>) -> (Vec<Found>, bool) {
            let listed = self.files.list(&BTreeMap::new(), shunned, MOST);
            listed.expect("a list")
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.dir.path().join("spool")).expect("a list");
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
            let mut names: Vec<_> = names
                .map(|entry| name(entry).to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_file_from_the_far_future_is_a_file() {
        let site = Site::new();
        fs::write(site.path("late"), b"late").expect("it is written");
        let year_2300 = std::time::Duration::new(10_413_792_000, 500_000_000);
        let file = File::options().write(true).open(site.path("late"));
        file.and_then(|file| file.set_modified(std::time::UNIX_EPOCH + year_2300))
            .expect("its time is set");

        let stat = nix::sys::stat::stat(&site.path("late")).expect("it is there");

        assert!(mark_of(&stat).modified > 0);
    }

    #[test]
    fn a_file_that_was_put_is_removed_and_one_renamed_over_it_stays() {
        let site = Site::new();
        site.write("a", "one");
        site.write("b", "two");
        let found = site.list();
        site.write(".next", "newer");
        fs::rename(site.path(".next"), site.path("b")).expect("a rename");

        let removed = site.files.remove_all(&found);

        let removed = removed.iter().map(|(found, outcome)| {
            let removed = outcome.as_ref().is_ok_and(|removed| *removed);
            (found.name.to_string(), removed)
        });
        let mut removed: Vec<(String, bool)> = removed.collect();
        removed.sort();
        let expected = [("\"a\"", true), ("\"b\"", false)];
        assert_eq!(
            removed,
            expected.map(|(name, gone)| (name.to_owned(), gone))
        );
        assert_eq!(site.names(), ["b"]);
        assert_eq!(fs::read_to_string(site.path("b")).expect("it"), "newer");
    }

    #[test]
    fn what_was_moved_aside_and_is_another_file_gets_its_name_back_or_a_new_one() {
        let site = Site::new();
        let name = |text: &str| Name(CString::new(text).expect("no zero"));
        site.write(".edged-taken-00", "one");
        site.write("a", "newer still");

        site.files
            .name_again(c".edged-taken-00", c"a")
            .expect("it gives way");
        assert_eq!(site.names(), ["a"]);
        site.write(".edged-taken-01", "two");
        site.files
            .restore(&name(".edged-taken-01"))
            .expect("it is named");

        assert_eq!(site.names(), ["a", "edged-taken-01"]);
    }

    #[test]
    fn a_file_that_has_changed_since_it_was_listed_is_not_opened() {
        let site = Site::new();
        site.write("a", "one");
        site.write("b", "two");
        std::os::unix::fs::symlink("/etc/passwd", site.path("c")).expect("a link");
        nix::unistd::mkfifo(&site.path("d"), Mode::S_IRUSR).expect("a pipe");
        let mut found = site.list();
        site.write("b", "longer");

        let open = |found: &Found| site.files.open(found).expect("no error").is_some();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let opened: Vec<bool> = found.iter().map(open).collect();

        assert_eq!(opened, [true, false, false, false]);
    }

    #[test]
    fn a_list_is_the_oldest_first_and_shows_a_name_of_any_bytes() {
        use std::os::unix::ffi::OsStrExt as _;
        let site = Site::new();
        let odd = std::ffi::OsStr::from_bytes(b"\xff\n");
        fs::write(site.path("x").with_file_name(odd), "odd").expect("a file");
        site.write("late", "x");
        let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        let early = File::create(site.path("zz")).expect("a file");
        early.set_times(times).expect("a time");

        let shown: Vec<String> = site.list().iter().map(|f| f.name.to_string()).collect();

        assert_eq!(shown[0], "\"zz\"");
        assert!(shown.contains(&"\"\\xff\\n\"".to_owned()), "{shown:?}");
    }

    #[test]
    fn what_is_passed_over_keeps_nothing_else_waiting() {
        let site = Site::new();
        for n in 0..PAGE + 1 {
            std::os::unix::fs::symlink("nowhere", site.path(&format!("link-{n}"))).expect("a link");
        }
        site.write("last", "x");

        let found = site.list();

        assert_eq!(found.len(), PASSED + 1);
        assert!(found.iter().any(|found| found.verdict == Verdict::Put));
    }

    #[test]
    fn a_page_reaches_what_lies_behind_files_that_cannot_be_put() {
        let site = Site::new();
        for n in 0..PAGE + 1 {
            site.write(&format!("{n}"), "x");
        }

        let (first, complete) = site.list_without(&BTreeSet::new());
        assert!(!complete && first.len() == PAGE);
        let shunned = first.iter().map(|found| found.seen.mark).collect();
        let (second, complete) = site.list_without(&shunned);

        assert!(complete, "the second page is the last");
        assert!(second.len() == 1 && !shunned.contains(&second[0].seen.mark));
    }
}
