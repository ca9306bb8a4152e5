//! A producer that outlives its connection.
//!
//! Whoever puts over a socket that breaks does not know whether the daemon had stored what
//! it sent. A [`Producer`] gives every put an idempotency key, and when the answer does
//! not come it connects again and puts the same under the same key: stored once, however
//! often it was sent. It is patient for as long as its owner says, and no longer.
//!
//! ```no_run
//! use edged_rpc::{Producer, PutOptions};
//!
//! # fn main() -> Result<(), edged_rpc::ClientError> {
//! let mut edged = Producer::new("/run/edged/rpc.sock");
//! let to = PutOptions::to_peer("depot-7");
//!
//! edged.put(&to, b"42.1 C")?;
//! // A key of one's own holds over restarts of the producer, too, for 24 hours.
//! let again = edged.put_keyed(&to, "reading-7", b"42.1 C")?;
//! println!("stored as {}", again.segment_id);
//! # Ok(())
//! # }
//! ```

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Client;
use crate::{Accepted, ClientError, Hello, Put, PutOptions};

/// How long a producer tries to have one put stored, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Time without progress after which a connection counts as lost.
const STALL: Duration = Duration::from_secs(10);
/// The pause after a failure, doubling up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Puts segments one by one, each stored once whatever becomes of the connection.
#[derive(Debug)]
pub struct Producer {
    path: PathBuf,
    hello: Hello,
    patience: Duration,
    stall: Duration,
    client: Option<Client>,
    /// What keys of its own begin with: no other producer's do.
    prefix: String,
    made: u64,
}

impl Producer {
    /// A producer for the daemon at `path`; it connects with its first put.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let software = concat!("edged-rpc ", env!("CARGO_PKG_VERSION"));
        Self {
            path: path.into(),
            hello: Hello::new(software),
            patience: PATIENCE,
            stall: STALL,
            client: None,
            prefix: fresh_prefix(),
            made: 0,
        }
    }

    /// The same under a greeting of one's own.
    #[must_use]
    pub fn greeting(self, hello: Hello) -> Self {
        Self { hello, ..self }
    }

    /// The same, trying for so long to have one put stored; zero tries once.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same, giving up a connection on which nothing moves for so long (10 s unless
    /// told otherwise); zero waits for ever.
    #[must_use]
    pub fn stalled_after(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// Puts `bytes` as one segment and returns once it is stored, once.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason; otherwise why no daemon took it
    /// for as long as the producer is patient: it may be stored then, or not.
    pub fn put(&mut self, options: &PutOptions, bytes: &[u8]) -> Result<Accepted, ClientError> {
        let key = self.fresh_key();
        self.put_keyed(options, &key, bytes)
    }

    /// The same under a key of the caller's, at most 128 B: whoever puts the same bytes to
    /// the same peers under it within 24 hours, this process or a later one, is given
    /// the first id ([`Accepted::known`]).
    ///
    /// # Errors
    /// As [`Producer::put`]; `key_conflict` when the key was used for something else.
    pub fn put_keyed(
        &mut self,
        options: &PutOptions,
        key: &str,
        bytes: &[u8],
    ) -> Result<Accepted, ClientError> {
        let put = Put {
            options: options.clone(),
            key: Some(key.to_owned()),
            len: Some(bytes.len() as u64),
        };
        self.persist(|client| client.put_with(put.clone(), bytes))
    }

    /// Puts all that `source` gives, in constant memory; after a lost connection it is
    /// read again from where it stands now.
    ///
    /// # Errors
    /// As [`Producer::put_keyed`]; [`ClientError::Source`] when `source` fails.
    pub fn put_from(
        &mut self,
        options: &PutOptions,
        key: &str,
        mut source: impl Read + Seek,
    ) -> Result<Accepted, ClientError> {
        let begin = source.stream_position().map_err(ClientError::Source)?;
        let end = source.seek(SeekFrom::End(0)).map_err(ClientError::Source)?;
        let len = end.saturating_sub(begin);
        let put = Put {
            options: options.clone(),
            key: Some(key.to_owned()),
            len: Some(len),
        };
        self.persist(|client| {
            let at = SeekFrom::Start(begin);
            source.seek(at).map_err(ClientError::Source)?;
            client.put_with(put.clone(), (&mut source).take(len))
        })
    }

    /// A conversation for anything else: the current one, or a new one.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn client(&mut self) -> Result<&mut Client, ClientError> {
        let client = match self.client.take() {
            Some(client) if !client.is_broken() => client,
            Some(_) | None => Client::connect_as(&self.path, self.stall, &self.hello)?,
        };
        Ok(self.client.insert(client))
    }

    /// A key that no other put has.
    fn fresh_key(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.prefix, self.made)
    }

    /// Tries until it is answered, patience is over, or no trying would help.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (begun, mut pause) = (Instant::now(), FIRST);
        loop {
            let error = match self.client().and_then(&mut attempt) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !may_pass(&error) || begun.elapsed() + pause > self.patience {
                return Err(error);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST);
        }
    }
}

/// Whether the same, tried again under the same key, may go well.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::NoDaemon { .. }
        | ClientError::TimedOut(_)
        | ClientError::HungUp
        | ClientError::Socket(_)
        | ClientError::Broken => true,
        ClientError::Refused(why) => PASSING.contains(&why.code.as_str()),
        ClientError::NotAllowed { .. }
        | ClientError::OtherVersion { .. }
        | ClientError::Frame(_)
        | ClientError::OffScript { .. }
        | ClientError::Source(_)
        | ClientError::Sink(_)
        | ClientError::AnswersDue { .. } => false,
    }
}

/// Refusals that pass by themselves, soon. A full node may stay full for days: that is for
/// the caller to know.
const PASSING: [&str; 4] = [
    "draining",
    "unknown",
    "too_many_requests",
    "too_many_connections",
];

/// 128 random bits: the hasher of the standard library is seeded by the system.
fn fresh_prefix() -> String {
    let word = || RandomState::new().build_hasher().finish();
    let pid = u64::from(std::process::id());
    format!("{:016x}{:016x}", word(), word() ^ pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, RpcError};

    fn refused(code: &str) -> ClientError {
        RpcError::new(ErrorKind::Refused, code, "no").into()
    }

    #[test]
    fn what_is_lost_on_the_way_is_tried_again_and_what_is_wrong_is_not() {
        assert!(may_pass(&ClientError::HungUp));
        assert!(may_pass(&ClientError::TimedOut(STALL)));
        assert!(may_pass(&refused("draining")));
        assert!(may_pass(&refused("unknown")));
        assert!(!may_pass(&refused("key_conflict")));
        assert!(!may_pass(&refused("storage_full")));
        assert!(!may_pass(&ClientError::Source(
            std::io::ErrorKind::Other.into()
        )));
    }

    #[test]
    fn no_two_puts_have_one_key() {
        let (mut a, mut b) = (Producer::new("/nowhere"), Producer::new("/nowhere"));

        let keys = [a.fresh_key(), a.fresh_key(), b.fresh_key(), b.fresh_key()];

        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(keys.iter().all(|key| key.len() <= 64));
    }

    #[test]
    fn an_impatient_producer_says_at_once_that_nobody_is_there() {
        let mut producer = Producer::new("/nowhere/rpc.sock").patient_for(Duration::ZERO);

        let error = producer.put(&PutOptions::to_peer("beta"), b"x");

        assert!(
            matches!(error, Err(ClientError::NoDaemon { .. })),
            "{error:?}"
        );
    }
}
