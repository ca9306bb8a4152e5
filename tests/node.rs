//! `edged`, built inside this package: a test learns the path of a binary only
//! in the binary's own package.
//!
//! With `RELAY_TEST_POISON` set it dies of what that names (with commas between),
//! whenever it is touched:
//! `seg-…` as that segment arrives, `pack N` as pack N of its own is sent. Where
//! `RELAY_TEST_CLOCK` names a file, the number in it is how many seconds the machine
//! has slept, and more of them pass as soon as it grows. The daemon that is shipped has
//! no such `main`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use relay_core::poison::Touched;

const POISON: &str = "RELAY_TEST_POISON";
const CLOCK: &str = "RELAY_TEST_CLOCK";
/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    if std::env::var_os(POISON).is_some() {
        edged::touch::dread(die_of_poison);
    }
    if let Some(file) = std::env::var_os(CLOCK) {
        let file = PathBuf::from(file);
        let mut slept = oversleep(&file, 0);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK);
                slept = oversleep(&file, slept);
            }
        });
    }
    edged::command::main()
}

fn die_of_poison(touched: Touched) {
    let name = match touched {
        Touched::Owed(due) => format!("pack {}", due.pack),
        Touched::Arriving(id) => id.to_string(),
    };
    let poison = std::env::var(POISON).unwrap_or_default();
    assert!(
        !poison.split(',').any(|one| one == name),
        "{name} is poison"
    );
}

/// Sleeps what the file says beyond `slept`; how much that is in all.
fn oversleep(file: &Path, slept: u64) -> u64 {
    let said = std::fs::read_to_string(file).unwrap_or_default();
    // It is written whole, but not at once.
    let said = said.strip_suffix('\n').and_then(|text| text.parse().ok());
    let said = said.unwrap_or(slept).max(slept);
    edged::clock::sleep_for(Duration::from_secs(said - slept));
    said
}
