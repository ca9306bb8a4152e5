//! Puts a file of any length in constant memory, under a key made of its name: run twice,
//! it is stored once.
//!
//! `cargo run -p edged-rpc --example upload -- /run/edged/rpc.sock depot-7 video.mp4`

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};

use edged_rpc::{Producer, PutOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(peer), Some(path)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: upload SOCKET PEER FILE".into());
    };
    let key = format!("upload {path}");
    let to = PutOptions {
        lane: "bulk".to_owned(),
        ..PutOptions::to_peer(peer)
    };
    let stored = Producer::new(socket).put_from(&to, &key, File::open(&path)?)?;
    let again = if stored.known { " (as before)" } else { "" };
    let line = format!("{} {}{again}", stored.segment_id, stored.digest);
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}
