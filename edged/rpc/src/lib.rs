//! What `edged` and its local clients say to each other, and a client that says it.
//!
//! The conversation, over `/run/edged/rpc.sock` (`surface.md`, section 4):
//!
//! 1. Everything is a frame: a little-endian `u32` length, then that many bytes.
//! 2. A frame is *words* (one postcard message, ≤ [`MAX_FRAME`]) or *raw* (payload
//!    bytes as they are); which of the two comes next is always known.
//! 3. The client says [`Hello`], the daemon answers [`Greeting`].
//! 4. Then each [`Request`] gets its answers, in order: one [`Response`], or a stream.
//! 5. Payloads travel as raw chunks of at most [`MAX_CHUNK`] bytes; an empty frame ends them.
//! 6. Batches ([`PutBatch`]) may be sent ahead of their answers, up to
//!    [`WINDOW_BATCHES`] and [`WINDOW_MEMBERS`].
//!
//! Files: `message` has what is asked, `answer` what is answered, `order` what operators order, `setup`
//! what the daemon is set to, `view`, `status` and
//! `state` the pictures answers carry, `keeping` what the node says of damage, spools and sink, `frame` the bytes, `client` the blocking [`Client`] and [`Producer`]; `asynchronous` the
//! same for tokio, behind the feature `tokio`. This crate
//! opens no socket but the one it is given a path for, and knows nothing of the relay.

mod answer;
#[cfg(feature = "tokio")]
pub mod asynchronous;
mod audit;
mod client;
pub mod frame;
mod id;
mod keeping;
mod message;
mod moment;
mod order;
mod setup;
mod state;
mod status;
mod view;
mod why;

pub use answer::*;
pub use audit::*;
pub use client::*;
pub use frame::{FrameError, MAX_CHUNK, MAX_FRAME, MAX_RAW};
pub use id::*;
pub use keeping::*;
pub use message::*;
pub use moment::*;
pub use order::*;
pub use setup::*;
pub use state::*;
pub use status::*;
pub use view::*;
pub use why::*;

/// The code on the page of this crate compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The newest version of the conversation this crate speaks.
///
/// postcard does not describe itself: enums only grow at their end, a struct never
/// grows. What must change otherwise takes a new variant or a new version.
/// [`Hello`] and [`Greeting`] are the same in every version.
///
/// Diary:
///
/// - 1: put, batches, segments, inbox, status, books, lists, counters. Until the first
///   release tag, formats of version 1 may still change.
pub const VERSION: u16 = 1;

/// The oldest version of the conversation this crate still speaks.
pub const OLDEST_VERSION: u16 = 1;
