//! Being built.

pub mod cli;
pub mod config;
pub mod init;
pub mod lock;
pub mod event;
pub mod staging;
pub mod transport;
