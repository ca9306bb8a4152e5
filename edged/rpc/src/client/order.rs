//! Orders: what they ask for is durable when they return.
//!
//! Each fails with [`ClientError::Refused`] when the daemon says no, and with a broken
//! conversation otherwise.

use super::{Client, ClientError};
use crate::{
    Acted, Changed, DeadletterInspect, DeadletterView, LaneBudget, LimitsChanged, Paused, PeerDrop,
    PeerKick, RelayAct, RelayBandwidth, RelayPause, RelayResume, ReloadView, Request, Response,
};

impl Client {
    /// Begins nothing new in a scope.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason, or a broken conversation.
    pub fn pause(&mut self, what: RelayPause) -> Result<Paused, ClientError> {
        let Response::Paused(paused) = self.call(&Request::RelayPause(what))? else {
            return Err(self.off_script("what became of a pause"));
        };
        Ok(paused)
    }

    /// Ends a pause of exactly this scope.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn resume(&mut self, what: RelayResume) -> Result<Changed, ClientError> {
        self.changed(&Request::RelayResume(what))
    }

    /// Sets a rate or a quota.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn set_bandwidth(&mut self, what: RelayBandwidth) -> Result<LimitsChanged, ClientError> {
        self.limits(&Request::RelayBandwidth(what))
    }

    /// Sets a lane's budget.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn set_lane_budget(&mut self, what: LaneBudget) -> Result<LimitsChanged, ClientError> {
        self.limits(&Request::LaneBudget(what))
    }

    /// Does something to deliveries; `progress` hears how far it is.
    ///
    /// # Errors
    /// As [`Client::pause`]; what was changed before stays changed.
    pub fn act(
        &mut self,
        what: &RelayAct,
        mut progress: impl FnMut(&Acted),
    ) -> Result<Acted, ClientError> {
        let mut answer = self.call(&Request::RelayAct(what.clone()))?;
        while let Response::Acting(so_far) = answer {
            progress(&so_far);
            answer = self.wire.answer()?;
        }
        let Response::Acted(acted) = answer else {
            return Err(self.off_script("what became of an order"));
        };
        Ok(acted)
    }

    /// One deadlettered delivery, by segment and peer; the look is audited.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn deadletter(&mut self, segment: &str, peer: &str) -> Result<DeadletterView, ClientError> {
        let request = DeadletterInspect {
            segment: segment.to_owned(),
            peer: peer.to_owned(),
        };
        let Response::Deadletter(view) = self.call(&Request::DeadletterInspect(request))? else {
            return Err(self.off_script("a deadletter entry"));
        };
        Ok(view)
    }

    /// Ends a peer's link; it is dialled anew.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn kick(&mut self, peer: &str) -> Result<Changed, ClientError> {
        let peer = peer.to_owned();
        self.changed(&Request::PeerKick(PeerKick { peer }))
    }

    /// Deadletters all that is owed to a peer which the config no longer names.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn drop_peer(&mut self, peer: &str) -> Result<Changed, ClientError> {
        let peer = peer.to_owned();
        self.changed(&Request::PeerDrop(PeerDrop { peer }))
    }

    /// Reads the config again, all of it or nothing.
    ///
    /// # Errors
    /// As [`Client::pause`].
    pub fn reload(&mut self) -> Result<ReloadView, ClientError> {
        let Response::Reload(reload) = self.call(&Request::ConfigReload)? else {
            return Err(self.off_script("what a reload changed"));
        };
        Ok(reload)
    }

    fn changed(&mut self, request: &Request) -> Result<Changed, ClientError> {
        let Response::Changed(changed) = self.call(request)? else {
            return Err(self.off_script("what an order changed"));
        };
        Ok(changed)
    }

    fn limits(&mut self, request: &Request) -> Result<LimitsChanged, ClientError> {
        let Response::Limits(limits) = self.call(request)? else {
            return Err(self.off_script("what limits hold"));
        };
        Ok(limits)
    }
}
