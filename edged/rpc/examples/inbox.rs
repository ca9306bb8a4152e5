//! Takes what has arrived, prints it, confirms it: at least once each, once unless it dies
//! in between.
//!
//! `cargo run -p edged-rpc --example inbox -- /run/edged/rpc.sock`

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use edged_rpc::{Client, InboxTake};

fn main() -> Result<(), Box<dyn Error>> {
    let socket = std::env::args().nth(1).ok_or("usage: inbox SOCKET")?;
    let mut edged = Client::connect(socket, Duration::from_secs(10))?;
    let which = InboxTake {
        max: 100,
        ..InboxTake::default()
    };
    loop {
        let taken = edged.take(&which)?;
        if taken.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        for (item, bytes) in &taken {
            let text = String::from_utf8_lossy(bytes);
            writeln!(
                out,
                "{} {}: {}",
                item.origin,
                item.segment_id,
                text.escape_debug()
            )?;
        }
        out.flush()?;
        let done: Vec<_> = taken.iter().map(|(item, _)| item.segment_id).collect();
        edged.confirm(&done)?;
    }
}
