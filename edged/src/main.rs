//! Arguments → config → run → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    edged::command::main()
}
