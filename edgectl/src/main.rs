//! `edgectl`: the operator's command line for `edged`. All of it is in the library.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use edgectl::{Console, run_on};

fn main() -> ExitCode {
    let (mut stdin, mut out, mut err) = (io::stdin(), io::stdout(), io::stderr());
    let terminal = out.is_terminal();
    let interactive = stdin.is_terminal() && err.is_terminal();
    let console = Console {
        stdin: &mut stdin,
        out: &mut out,
        err: &mut err,
        terminal,
        interactive,
    };
    run_on(std::env::args_os(), console).into()
}
