//! The local socket, end to end: a real daemon of one node in this process, the public
//! client and raw frames before it.

#[path = "socket/audit.rs"]
mod audit;
#[path = "socket/frames.rs"]
mod frames;
#[path = "socket/inbox.rs"]
mod inbox;
#[path = "socket/orders.rs"]
mod orders;
#[path = "socket/path.rs"]
mod path;
#[path = "socket/puts.rs"]
mod puts;
#[path = "socket/setup.rs"]
mod setup;
#[path = "socket/views.rs"]
mod views;
#[path = "socket/wait.rs"]
mod wait;
#[path = "socket/world.rs"]
mod world;
