//! Two network namespaces with two cables between them: a machine that moves.
//!
//! The near one has an address on each cable and leaves by one of them; the far one is
//! reached at an address of its own by either. [`Lan::move_over`] takes the address in
//! use away and leaves by the other, as a machine does that walks out of reach. Only
//! root can make one; all of it goes when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

/// Where the far end is, whichever cable leads there.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);

/// Both namespaces.
#[derive(Debug)]
pub struct Lan {
    near: String,
    far: String,
    /// The cable in use: 0 or 1.
    cable: u8,
}

impl Lan {
    /// One of this name; `None`, with the reason said, where this host or user cannot.
    ///
    /// # Panics
    /// If namespaces can be had and cables cannot.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let name = |end| format!("edged-{}-{name}-{end}", std::process::id());
        let lan = Self {
            near: name("near"),
            far: name("far"),
            cable: 0,
        };
        if let Err(why) = ip(&format!("netns add {}", lan.near)) {
            crate::seeds::say(&format!("  skipped: no network namespace: {why}"));
            // Nothing was made.
            std::mem::forget(lan);
            return None;
        }
        let must = |line: &str| ip(line).unwrap_or_else(|why| panic!("ip {line}: {why}"));
        must(&format!("netns add {}", lan.far));
        for cable in 0..2 {
            must(&format!(
                "link add n{cable} netns {} type veth peer name f{cable} netns {}",
                lan.near, lan.far
            ));
            must(&format!("-n {} link set n{cable} up", lan.near));
            must(&format!("-n {} link set f{cable} up", lan.far));
            must(&format!(
                "-n {} addr add 10.77.{cable}.2/24 dev f{cable}",
                lan.far
            ));
        }
        must(&format!("-n {} link set lo up", lan.near));
        must(&format!("-n {} link set lo up", lan.far));
        must(&format!("-n {} addr add {FAR}/32 dev lo", lan.far));
        lan.plug_in();
        Some(lan)
    }

    /// What runs a program in the near one.
    #[must_use]
    pub fn near(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.near]
    }

    /// What runs a program in the far one.
    #[must_use]
    pub fn far(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.far]
    }

    /// The far end's address, at the port of `listener`.
    #[must_use]
    pub fn far_at(&self, listener: SocketAddr) -> SocketAddr {
        (FAR, listener.port()).into()
    }

    /// The address the near end has.
    #[must_use]
    pub fn near_at(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.cable, 1)
    }

    /// The near end loses its address and has the other cable's from here on.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn move_over(&mut self) {
        let old = self.cable;
        let line = format!("-n {} addr flush dev n{old}", self.near);
        ip(&line).expect("an address of ours can go");
        self.cable = 1 - old;
        self.plug_in();
    }

    fn plug_in(&self) {
        let (near, cable) = (&self.near, self.cable);
        let lines = [
            format!("-n {near} addr add {}/24 dev n{cable}", self.near_at()),
            format!("-n {near} route replace default via 10.77.{cable}.2"),
        ];
        for line in lines {
            ip(&line).unwrap_or_else(|why| panic!("ip {line}: {why}"));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            // It may not have been made.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Runs `ip` with these words.
fn ip(line: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(line.split_whitespace()).stdin(Stdio::null());
    let done = command.output().map_err(|error| format!("ip: {error}"))?;
    let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() {
        Ok(())
    } else {
        Err(words)
    }
}
