//! `edged`, built inside this package: a test learns the path of a binary only
//! in the binary's own package.
//!
//! With `RELAY_TEST_POISON` set it dies of what that names (with commas between),
//! whenever it is touched:
//! `seg-…` as that segment arrives, `pack N` as pack N of its own is sent. The daemon
//! that is shipped has no such `main`.

use std::process::ExitCode;

use relay_core::poison::Touched;

const POISON: &str = "RELAY_TEST_POISON";

fn main() -> ExitCode {
    if std::env::var_os(POISON).is_some() {
        edged::touch::dread(die_of_poison);
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
