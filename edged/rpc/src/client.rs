//! Being built.
/// Being built.
#[derive(Debug)]
pub struct Client;
