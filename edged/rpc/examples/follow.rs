//! Follows the inbox: prints what arrives as it comes and confirms it, until it has had
//! so many.
//!
//! `cargo run -p edged-rpc --example follow -- /run/edged/rpc.sock 10`

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;

use edged_rpc::{Client, Followed, InboxTake};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(count)) = (args.next(), args.next()) else {
        return Err("usage: follow SOCKET COUNT".into());
    };
    let mut left: u64 = count.parse()?;
    // Without a timeout: it may take long until something comes.
    let mut edged = Client::connect(socket, Duration::ZERO)?;
    let mut out = io::stdout().lock();
    edged.follow(&InboxTake::default(), |item, body| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        writeln!(out, "{}: {}", item.segment_id, text.escape_debug())?;
        out.flush()?;
        left = left.saturating_sub(1);
        Ok(if left == 0 {
            Followed::Last
        } else {
            Followed::Done
        })
    })?;
    Ok(())
}
