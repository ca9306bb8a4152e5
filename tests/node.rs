//! `edged`, built inside this package: a test learns the path of a binary only
//! in the binary's own package.

use std::process::ExitCode;

fn main() -> ExitCode {
    edged::command::main()
}
