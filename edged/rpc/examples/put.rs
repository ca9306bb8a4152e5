//! Puts lines from standard input, one segment a line, and says what became of them.
//!
//! `cargo run -p edged-rpc --example put -- /run/edged/rpc.sock depot-7 < readings.txt`

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use edged_rpc::{Client, PutOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let socket = args
        .next()
        .unwrap_or_else(|| "/run/edged/rpc.sock".to_owned());
    let peer = args.next().ok_or("usage: put [SOCKET] PEER")?;
    let lines = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;

    let mut edged = Client::connect(socket, Duration::from_secs(10))?;
    let done = edged.put_many(&PutOptions::to_peer(peer), &lines)?;

    let mut out = io::stdout().lock();
    for id in done.ids.iter().filter(|id| !id.is_nil()) {
        writeln!(out, "{id}")?;
    }
    match done.refused.first() {
        None => Ok(()),
        Some((line, error)) => Err(format!("line {}: {error}", line + 1).into()),
    }
}
