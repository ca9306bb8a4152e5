//! The local RPC. A stand-in: being built.

use tokio_util::sync::CancellationToken;

use crate::config::Rpc;
use crate::desk::Desk;

/// The listening socket.
#[derive(Debug)]
pub struct Socket;

impl Socket {
    /// Binds it.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn bind(_config: &Rpc) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// Serves clients until `stop`.
    pub async fn serve(self, desk: Desk, stop: CancellationToken) {
        stop.cancelled().await;
        drop(desk);
    }
}
