//! Being built.

pub mod cli;
pub mod config;
pub mod init;
pub mod lock;
