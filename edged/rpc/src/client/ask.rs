//! The questions: one request, one answer, nothing moved.
//!
//! Each fails with [`ClientError::Refused`] when the daemon says no, and with a broken
//! conversation otherwise.

use super::{Client, ClientError};
use crate::{
    BlockedView, ConfigCheck, ConfigShow, CountersView, DeliveryView, InboxList, InboxView,
    InboxWait, KeyView, LaneList, LaneView, Page, PeerDetail, PeerInspect, PeerList, PeerView,
    QuarantineList, QuarantineView, RelayConfigView, RelayList, RelayStatus, RelayWhy, ReloadView,
    Request, Response, SegmentDetail, SegmentInspect, SegmentList, SegmentView, StatusReport,
    VersionView, WhyReport,
};

impl Client {
    /// A page of segments, newest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason, or a broken conversation.
    pub fn list(&mut self, which: &SegmentList) -> Result<Page<SegmentView>, ClientError> {
        let Response::Segments(page) = self.call(&Request::SegmentList(which.clone()))? else {
            return Err(self.off_script("a page of segments"));
        };
        Ok(page)
    }

    /// One segment, by id or unique prefix, and all that happened to it.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn inspect(&mut self, segment: &str) -> Result<SegmentDetail, ClientError> {
        let request = SegmentInspect {
            segment: segment.to_owned(),
        };
        let Response::SegmentDetail(detail) = self.call(&Request::SegmentInspect(request))? else {
            return Err(self.off_script("one segment"));
        };
        Ok(detail)
    }

    /// A page of the inbox, oldest first.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn inbox(&mut self, which: &InboxList) -> Result<Page<InboxView>, ClientError> {
        let Response::Inbox(page) = self.call(&Request::InboxList(which.clone()))? else {
            return Err(self.off_script("a page of the inbox"));
        };
        Ok(page)
    }

    /// The relay as a whole.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn status(&mut self, which: &RelayStatus) -> Result<StatusReport, ClientError> {
        let Response::Status(report) = self.call(&Request::RelayStatus(which.clone()))? else {
            return Err(self.off_script("a status"));
        };
        Ok(report)
    }

    /// A page of deliveries, newest first.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn deliveries(&mut self, which: &RelayList) -> Result<Page<DeliveryView>, ClientError> {
        let Response::Deliveries(page) = self.call(&Request::RelayList(which.clone()))? else {
            return Err(self.off_script("a page of deliveries"));
        };
        Ok(page)
    }

    /// A page of peers, by id.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn peers(&mut self, which: &PeerList) -> Result<Page<PeerView>, ClientError> {
        let Response::Peers(page) = self.call(&Request::PeerList(which.clone()))? else {
            return Err(self.off_script("a page of peers"));
        };
        Ok(page)
    }

    /// Which daemon this is.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn version(&mut self) -> Result<VersionView, ClientError> {
        let Response::Version(version) = self.call(&Request::Version)? else {
            return Err(self.off_script("a version"));
        };
        Ok(version)
    }

    /// Counts since the ledger was made, from the daemon's memory.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn counters(&mut self) -> Result<CountersView, ClientError> {
        let Response::Counters(counters) = self.call(&Request::Counters)? else {
            return Err(self.off_script("counters"));
        };
        Ok(counters)
    }

    /// Arrivals, as soon as there are any; an empty page when the wait is over.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn wait(&mut self, which: &InboxWait) -> Result<Page<InboxView>, ClientError> {
        let Response::Inbox(page) = self.call(&Request::InboxWait(which.clone()))? else {
            return Err(self.off_script("a page of the inbox"));
        };
        Ok(page)
    }

    /// One peer in full.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn peer(&mut self, peer: &str) -> Result<PeerDetail, ClientError> {
        let peer = peer.to_owned();
        let request = Request::PeerInspect(PeerInspect { peer });
        let Response::PeerDetail(detail) = self.call(&request)? else {
            return Err(self.off_script("one peer"));
        };
        Ok(detail)
    }

    /// Why the deliveries of a segment, by id or unique prefix, do not move.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn why(&mut self, which: &RelayWhy) -> Result<WhyReport, ClientError> {
        let Response::Why(report) = self.call(&Request::RelayWhy(which.clone()))? else {
            return Err(self.off_script("why a segment does not move"));
        };
        Ok(report)
    }

    /// What blocks how much of all that waits, the most first.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn why_all(&mut self) -> Result<Page<BlockedView>, ClientError> {
        let Response::Blocked(page) = self.call(&Request::RelayWhyAll)? else {
            return Err(self.off_script("what blocks"));
        };
        Ok(page)
    }

    /// A page of what was damaged, newest first.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn quarantine(
        &mut self,
        which: &QuarantineList,
    ) -> Result<Page<QuarantineView>, ClientError> {
        let request = Request::QuarantineList(which.clone());
        let Response::Quarantine(page) = self.call(&request)? else {
            return Err(self.off_script("a page of quarantine"));
        };
        Ok(page)
    }

    /// A page of lanes, most urgent first.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn lanes(&mut self, which: &LaneList) -> Result<Page<LaneView>, ClientError> {
        let Response::Lanes(page) = self.call(&Request::LaneList(which.clone()))? else {
            return Err(self.off_script("a page of lanes"));
        };
        Ok(page)
    }

    /// How the relay is set.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn relay_config(&mut self) -> Result<RelayConfigView, ClientError> {
        let Response::RelayConfig(view) = self.call(&Request::RelayConfig)? else {
            return Err(self.off_script("how the relay is set"));
        };
        Ok(view)
    }

    /// A page of effective config keys, by name.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn config(&mut self, which: &ConfigShow) -> Result<Page<KeyView>, ClientError> {
        let Response::Config(page) = self.call(&Request::ConfigShow(which.clone()))? else {
            return Err(self.off_script("a page of config keys"));
        };
        Ok(page)
    }

    /// Whether a file would do in place of the daemon's own, and what it would change.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub fn check_config(&mut self, file: ConfigCheck) -> Result<ReloadView, ClientError> {
        let Response::Reload(reload) = self.call(&Request::ConfigCheck(file))? else {
            return Err(self.off_script("what a reload would change"));
        };
        Ok(reload)
    }
}
