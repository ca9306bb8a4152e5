//! The local socket, end to end: a real daemon of one node in this process, the public
//! client and raw frames before it.

#[path = "socket/frames.rs"]
mod frames;
#[path = "socket/inbox.rs"]
mod inbox;
#[path = "socket/path.rs"]
mod path;
#[path = "socket/puts.rs"]
mod puts;
#[path = "socket/views.rs"]
mod views;
#[path = "socket/world.rs"]
mod world;
