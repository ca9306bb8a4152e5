//! The daemon, as a binary of this package: benches find it by name.

use std::process::ExitCode;

fn main() -> ExitCode {
    edged::command::main()
}
