//! `edgectl`, built inside this package: a test learns the path of a binary only
//! in the binary's own package.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use edgectl::{Console, run_on};

fn main() -> ExitCode {
    let (mut stdin, mut out, mut err) = (io::stdin(), io::stdout(), io::stderr());
    let (terminal, interactive) = (out.is_terminal(), stdin.is_terminal());
    let console = Console {
        stdin: &mut stdin,
        out: &mut out,
        err: &mut err,
        terminal,
        interactive,
    };
    run_on(std::env::args_os(), console).into()
}
