//! The audit, asked of the daemon.

use super::{Client, ClientError};
use crate::{
    AuditAsk, AuditExport, AuditFilter, AuditPrune, AuditPruned, AuditQuery, AuditSums,
    AuditVerdict, AuditView, Page, Request, Response,
};

impl Client {
    /// Entries, newest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the daemon's reason, or a broken conversation.
    pub fn audit(&mut self, which: &AuditQuery) -> Result<Page<AuditView>, ClientError> {
        self.entries(&Request::Audit(AuditAsk::Query(which.clone())))
    }

    /// Entries above a number, oldest first.
    ///
    /// # Errors
    /// As [`Client::audit`].
    pub fn audit_export(&mut self, after: u64) -> Result<Page<AuditView>, ClientError> {
        self.entries(&Request::Audit(AuditAsk::Export(AuditExport { after })))
    }

    /// Whether the chain holds.
    ///
    /// # Errors
    /// As [`Client::audit`].
    pub fn audit_verify(&mut self) -> Result<AuditVerdict, ClientError> {
        let Response::AuditVerdict(verdict) = self.call(&Request::Audit(AuditAsk::Verify))? else {
            return Err(self.off_script("whether the audit holds"));
        };
        Ok(verdict)
    }

    /// Counts of entries.
    ///
    /// # Errors
    /// As [`Client::audit`].
    pub fn audit_summary(&mut self, filter: &AuditFilter) -> Result<AuditSums, ClientError> {
        let Response::AuditSums(sums) =
            self.call(&Request::Audit(AuditAsk::Summary(filter.clone())))?
        else {
            return Err(self.off_script("counts of audit entries"));
        };
        Ok(sums)
    }

    /// Removes the oldest entries, or says which would go.
    ///
    /// # Errors
    /// As [`Client::audit`].
    pub fn audit_prune(&mut self, what: &AuditPrune) -> Result<AuditPruned, ClientError> {
        let Response::AuditPruned(pruned) = self.call(&Request::AuditPrune(what.clone()))? else {
            return Err(self.off_script("what was pruned"));
        };
        Ok(pruned)
    }

    fn entries(&mut self, request: &Request) -> Result<Page<AuditView>, ClientError> {
        let Response::Audit(page) = self.call(request)? else {
            return Err(self.off_script("audit entries"));
        };
        Ok(page)
    }
}
