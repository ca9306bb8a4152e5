//! Working off the inbox as it fills: take, hand on, confirm, wait, again.

use std::io;

use super::{Body, Client, ClientError};
use crate::{Id, InboxTake, InboxView, InboxWait, MAX_WAIT_SECONDS, Paging};

/// What a consumer says of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It is processed: confirm it.
    Done,
    /// It comes again when its lease is over.
    Again,
    /// It is processed, and it was the last I want.
    Last,
}

/// Items leased at once: what a consumer that dies keeps from others for a lease.
const STEP: u32 = 64;

impl Client {
    /// Hands each ready item to `each` as it comes, and confirms those of which it says
    /// so, until it has had its last. Nothing is leased while nothing is ready. Connect
    /// without a timeout, or with one above [`MAX_WAIT_SECONDS`].
    ///
    /// # Errors
    /// As [`Client::take_with`]. What was leased and not confirmed is ready again later.
    pub fn follow(
        &mut self,
        which: &InboxTake,
        mut each: impl FnMut(InboxView, &mut Body<'_>) -> io::Result<Followed>,
    ) -> Result<(), ClientError> {
        let max = if which.max == 0 { STEP } else { which.max };
        let take = InboxTake {
            max,
            ..which.clone()
        };
        let wait = InboxWait {
            filter: which.filter.clone(),
            ready: true,
            seconds: MAX_WAIT_SECONDS,
            page: Paging {
                limit: 1,
                after: None,
            },
        };
        loop {
            let (mut done, mut last): (Vec<Id>, bool) = (Vec::new(), false);
            let came = self.take_with(&take, |item, body| {
                let id = item.segment_id;
                match if last {
                    Followed::Again
                } else {
                    each(item, body)?
                } {
                    Followed::Done => done.push(id),
                    Followed::Again => {}
                    Followed::Last => {
                        done.push(id);
                        last = true;
                    }
                }
                Ok(())
            })?;
            if !done.is_empty() {
                self.confirm(&done)?;
            }
            if last {
                return Ok(());
            }
            if came == 0 {
                self.wait(&wait)?;
            }
        }
    }
}
