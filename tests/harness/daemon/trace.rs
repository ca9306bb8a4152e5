//! A recording of system calls: `strace -f -yy` text, read back as calls.
//!
//! [`Call::begun`] and [`Call::ended`] are line numbers: strace prints a call when it
//! returns, or in two halves when another thread's call comes between. So one line
//! number below another means earlier, across threads, as the tracer saw it.

use std::collections::BTreeMap;

/// One system call of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The line at which it had begun.
    pub begun: usize,
    /// The line at which it had returned.
    pub ended: usize,
    /// `write`, `fdatasync`, …
    pub name: String,
    /// What its first descriptor is, as strace names it: a path, or a socket.
    pub file: String,
    /// All strings it was given, end to end: what was written.
    pub bytes: Vec<u8>,
    /// What it was given beside them, split at the commas: a descriptor, flags, an offset.
    pub words: Vec<String>,
    /// What it returned; below zero is an error.
    pub result: i64,
}

/// Calls in the order in which they returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The calls.
    pub calls: Vec<Call>,
}

impl Recording {
    /// What to run before the daemon to record it at `path`.
    #[must_use]
    pub fn tracer(path: &str) -> Vec<&str> {
        // Long strings: the records of a group are read, the filling of files is not.
        let calls = "trace=write,pwrite64,writev,pwritev,pwritev2,fdatasync,fsync,sync_file_range,\
                     msync,rename,renameat,renameat2,sendto,sendmsg,sendmmsg";
        Self::tracer_of(path, calls, "524288")
    }

    /// What to run before a process to record at `path` all it does to files, every byte.
    #[must_use]
    pub fn tracer_of_files(path: &str) -> Vec<&str> {
        let calls = "trace=openat,mkdir,mkdirat,unlink,unlinkat,write,pwrite64,writev,lseek,\
                     ftruncate,fdatasync,fsync,rename,renameat,renameat2,link,linkat,fallocate,\
                     pwritev,pwritev2";
        Self::tracer_of(path, calls, "16777216")
    }

    fn tracer_of<'a>(path: &'a str, calls: &'a str, longest: &'a str) -> Vec<&'a str> {
        let quiet = "signal=none";
        vec![
            "strace", "-f", "-yy", "-s", longest, "-o", path, "-e", calls, "-e", quiet,
        ]
    }

    /// Reads what strace wrote; lines that are no whole call (exits, a call cut short
    /// by the end) are passed over.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        let mut calls = Vec::new();
        let mut open: BTreeMap<Vec<u8>, (usize, Vec<u8>)> = BTreeMap::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let Some((thread, rest)) = cut(line, b" ") else {
                continue;
            };
            let rest = rest.trim_ascii_start();
            if let Some(head) = rest.strip_suffix(b" <unfinished ...>") {
                open.insert(thread.to_vec(), (at, head.to_vec()));
            } else if rest.starts_with(b"<... ") {
                let whole = open.remove(thread).zip(cut(rest, b" resumed>"));
                if let Some(((begun, mut head), (_, tail))) = whole {
                    head.extend_from_slice(tail);
                    calls.extend(call(&head, begun, at));
                }
            } else {
                calls.extend(call(rest, at, at));
            }
        }
        Self { calls }
    }

    /// The same without some calls: what a daemon that does not make them would show.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&Call) -> bool) -> Self {
        Self {
            calls: self
                .calls
                .iter()
                .filter(|call| !gone(call))
                .cloned()
                .collect(),
        }
    }
}

impl Call {
    /// Whether it brings what was written to stable storage.
    #[must_use]
    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync") && self.result == 0
    }

    /// Whether it writes to a file.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let name = self.name.as_str();
        matches!(
            name,
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2"
        ) && self.result >= 0
    }

    /// Whether it sends to a local client; a socket may be written like a file.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.file.starts_with("UNIX-STREAM") && self.file.contains("rpc.sock") && self.result > 0
    }
}

/// Reads `name(4<file>, "bytes", …) = result`.
fn call(line: &[u8], begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = cut(line, b"(")?;
    // A call in two halves is padded before its result.
    let end = rest.windows(3).rposition(|three| three == b" = ")?;
    let (arguments, result) = (rest[..end].trim_ascii_end(), &rest[end + 3..]);
    let arguments = arguments.strip_suffix(b")")?;
    let number = result
        .split(|byte| !byte.is_ascii_digit() && *byte != b'-')
        .next()?;
    let file = cut(arguments, b"<").map_or(&b""[..], |(_, file)| {
        let end = file
            .windows(2)
            .position(|two| two == b">,")
            .unwrap_or(file.len() - 1);
        &file[..end]
    });
    let after = arguments
        .iter()
        .position(|byte| *byte == b',')
        .unwrap_or(arguments.len());
    let after = after.max(cut(arguments, b">,").map_or(0, |(head, _)| head.len()));
    // A call that begins with a path has no descriptor before it.
    let after = if arguments.starts_with(b"\"") {
        0
    } else {
        after
    };
    let (bytes, mut words) = strings(&arguments[after..]);
    let descriptor = cut(arguments, b"<").map_or(&b""[..], |(number, _)| number);
    words.splice(..0, descriptor.iter().copied());
    Some(Call {
        begun,
        ended,
        name: String::from_utf8(name.to_vec()).ok()?,
        file: String::from_utf8_lossy(file).into_owned(),
        bytes,
        words: words
            .split(|byte| *byte == b',')
            .map(|word| String::from_utf8_lossy(word.trim_ascii()).into_owned())
            .collect(),
        result: std::str::from_utf8(number).ok()?.parse().ok()?,
    })
}

/// All quoted strings, unescaped, end to end; and what stands between them.
fn strings(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut rest, mut at, mut inside) = (Vec::new(), Vec::new(), 0, false);
    while at < text.len() {
        match (inside, text[at]) {
            (_, b'"') => inside = !inside,
            (true, b'\\') => {
                at += 1;
                at += escape(&text[at..], &mut out);
                continue;
            }
            (true, byte) => out.push(byte),
            (false, byte) => rest.push(byte),
        }
        at += 1;
    }
    (out, rest)
}

/// One escape after its backslash, as C has them; how long it was.
fn escape(text: &[u8], out: &mut Vec<u8>) -> usize {
    let octal = text
        .iter()
        .take(3)
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .count();
    if octal > 0 {
        let digits = text[..octal].iter();
        out.push(digits.fold(0, |sum: u8, digit| (sum << 3) | (digit - b'0')));
        return octal;
    }
    let Some(letter) = text.first() else { return 0 };
    out.push(match letter {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'v' => 0x0b,
        b'f' => 0x0c,
        other => *other,
    });
    1
}

/// What stands before and after the first `mark`.
fn cut<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|found| found == mark)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_read_with_its_file_and_its_bytes() {
        let line = br#"77 pwrite64(5</tmp/a/state/log/0000.log>, "pack\7\0\n\"x\\\377"..., 11, 4096) = 11"#;

        let read = Recording::read(line);

        assert_eq!(read.calls[0].name, "pwrite64");
        assert_eq!(read.calls[0].file, "/tmp/a/state/log/0000.log");
        assert_eq!(read.calls[0].bytes, b"pack\x07\0\n\"x\\\xff");
        assert_eq!(read.calls[0].result, 11);
        assert_eq!(read.calls[0].words, ["5", "...", "11", "4096"]);
    }

    #[test]
    fn an_answer_on_the_socket_is_told_from_a_file() {
        let line = br#"77 sendto(9<UNIX-STREAM:[80->81,"/tmp/a/rpc.sock"]>, "\3\0ab", 4, MSG_NOSIGNAL, NULL, 0) = 4"#;

        let read = Recording::read(line);

        assert!(read.calls[0].is_answer(), "{:?}", read.calls[0]);
        assert_eq!(read.calls[0].bytes, b"\x03\0ab");
    }

    #[test]
    fn a_path_and_its_flags_are_read() {
        let text = b"7 openat(AT_FDCWD</x>, \"/x/a\", O_RDWR|O_CREAT, 0644) = 5</x/a>\n\
                     7 unlink(\"/x/a\") = 0";

        let read = Recording::read(text);

        assert_eq!(read.calls[0].bytes, b"/x/a");
        let words = ["AT_FDCWD", "", "O_RDWR|O_CREAT", "0644"];
        assert_eq!(read.calls[0].words, words);
        assert_eq!(
            (read.calls[0].result, &read.calls[1].bytes[..]),
            (5, &b"/x/a"[..])
        );
    }

    #[test]
    fn a_call_in_two_halves_spans_what_came_between() {
        let text = b"7 fdatasync(4</x/ledger.db-wal> <unfinished ...>\n\
                     8 write(2<pipe:[1]>, \"hi\\n\", 3) = 3\n\
                     7 <... fdatasync resumed>)             = 0\n\
                     7 +++ exited with 0 +++\n";

        let read = Recording::read(text);

        let spans: Vec<_> = read
            .calls
            .iter()
            .map(|call| (call.begun, call.ended))
            .collect();
        assert_eq!(spans, [(1, 1), (0, 2)]);
        assert!(read.calls[1].is_sync());
        assert_eq!(read.calls[1].file, "/x/ledger.db-wal");
    }

    #[test]
    fn a_sync_that_failed_is_none() {
        let read = Recording::read(b"7 fdatasync(4</x>) = -1 EIO (Input/output error)");

        assert!(!read.calls[0].is_sync());
    }
}
