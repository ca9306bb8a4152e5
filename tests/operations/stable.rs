//! Text that is the same in every run: ids by their order of appearance, and one value
//! for all times, addresses, ages and counts that depend on the moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// What differs between runs, and what stands for it. Replacements are as wide as what
/// they replace wherever a column depends on it.
static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
            "2026-01-31T12:00:00.000Z",
        ),
        (r"127\.0\.0\.1:\d+", "203.0.113.7:7443"),
        (r"rtt \d+(\.\d+)? ms", "rtt 0.4 ms"),
        (r"RTT:( +)\d+(\.\d+)? ms", "RTT:${1}0.4 ms"),
        (r"oldest \d+(\.\d+)? ?m?s", "oldest 42s"),
        (r"in \d+(\.\d+)? s\b", "in 3.2 s"),
        (r"pause ends in .*", "pause ends in 119 min"),
        (
            r"quota opens in .* used of",
            "quota opens in 23 h 59 min (56.6 KiB used of",
        ),
        // How far a link is that cannot come up depends on the moment.
        (
            r"no link to (\w+): it is (dialled again|being dialled).*",
            "no link to $1: it is being dialled",
        ),
        (r"beta( +)(?:dialing|down   ) ", "beta${1}dialing "),
        (r"Daily Used:( +)\d.*", "Daily Used:${1}4,096 (4 KiB)"),
        (
            r"Available Tokens:( +)-?\d.*",
            "Available Tokens:${1}65,536 (100% of burst)",
        ),
        (r"Throttle Count:( +)[1-9]\d*", "Throttle Count:${1}14"),
        // How much fits before a full node says no depends on the moment.
        (
            r"Scheduled:( +)\d\d( +)\(\d+ MiB",
            "Scheduled:${1}30${2}(30 MiB",
        ),
        (r"(Total|Acked):( +)\d\d$", "${1}:${2}30"),
        (r"[\d.]+ MiB of 64 MiB hold", "57.9 MiB of 64 MiB hold"),
        (r"(beta +dialing .* inflight)   .*", "$1"),
        (r"(/var/spool/edged) +working", "$1         working"),
        (r"(dir:/var/lib/readings) +working", "$1    working"),
        // Counters of the last minute are rows, too.
        (r"(rebuilt from |rows=)\d\d\b", "${1}37"),
        (r"(peer_down +beta +)\d\d  \d\d MiB", "${1}30  30 MiB"),
        (r"beta( +)(\S+ +)\d\d waiting", "beta${1}${2}30 waiting"),
        (
            r"(puts_refused|disk_full) \(.*\)",
            "$1 (57.9 MiB of 64 MiB)",
        ),
        (r"\d{8}T\d{6}Z", "20260131T120000Z"),
        (r"process \d+", "process 1234"),
    ]
    .into_iter()
    .map(|(pattern, value)| (Regex::new(pattern).expect("a pattern"), value))
    .collect()
});

/// An id of a segment.
static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new("seg-[0-9a-f]{32}").expect("a pattern"));

/// Where things lie in a run, and on the page.
#[derive(Debug)]
pub(crate) struct Places(Vec<(String, &'static str)>);

impl Places {
    /// Each by its real path, and by the page's.
    pub(crate) fn new<const N: usize>(all: [(&Path, &'static str); N]) -> Self {
        let pairs = all.map(|(real, shown)| (real.display().to_string(), shown));
        Self(pairs.into())
    }

    /// A command of the page with the paths of this run.
    pub(crate) fn real(&self, line: &str) -> String {
        let replace = |line: String, (real, shown): &(String, &str)| line.replace(shown, real);
        self.0.iter().fold(line.to_owned(), replace)
    }

    /// What was printed with the paths of the page.
    pub(crate) fn shown(&self, text: &str) -> String {
        let replace = |text: String, (real, shown): &(String, &str)| text.replace(real, shown);
        self.0.iter().fold(text.to_owned(), replace)
    }
}

/// What the page calls each segment.
#[derive(Debug, Default)]
pub(crate) struct Names {
    shown: BTreeMap<String, String>,
}

impl Names {
    /// What the page calls the segment `id`.
    pub(crate) fn name(&mut self, id: &str) -> String {
        let next = self.shown.len() + 1;
        let shown = || format!("seg-0198c0de{next:024x}");
        self.shown
            .entry(id.to_owned())
            .or_insert_with(shown)
            .clone()
    }

    /// A command of the page with the ids of this run.
    pub(crate) fn real(&self, line: &str) -> String {
        let replace = |line: String, (real, shown): (&String, &String)| line.replace(shown, real);
        self.shown.iter().fold(line.to_owned(), replace)
    }

    /// `text` as any run would have printed it.
    pub(crate) fn stable(&mut self, text: &str) -> String {
        let named = ID.replace_all(text, |found: &regex::Captures<'_>| self.name(&found[0]));
        let mut out = String::new();
        for line in named.lines() {
            let replace = |line: String, (pattern, value): &(Regex, &str)| {
                pattern.replace_all(&line, *value).into_owned()
            };
            out += VOLATILE.iter().fold(line.to_owned(), replace).trim_end();
            out.push('\n');
        }
        out
    }
}
