//! Puts a reading a line, each stored once though the daemon is restarted under it.
//!
//! `cargo run -p edged-rpc --example readings -- /run/edged/rpc.sock depot-7 < readings.txt`

use std::error::Error;
use std::io::{self, BufRead, Write};

use edged_rpc::{Producer, PutOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(peer)) = (args.next(), args.next()) else {
        return Err("usage: readings SOCKET PEER".into());
    };
    let mut edged = Producer::new(socket);
    let to = PutOptions {
        topic: Some("meter/reading".to_owned()),
        ..PutOptions::to_peer(peer)
    };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let stored = edged.put(&to, line?.as_bytes())?;
        writeln!(out, "{}", stored.segment_id)?;
    }
    Ok(())
}
