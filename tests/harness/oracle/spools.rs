//! Each step: a file is put once, in one transaction with its row, and the row goes
//! only when the file can no longer come back. At rest every file that was ever dropped
//! was put.

use std::collections::BTreeMap;

use relay_core::change::Change;

use super::Oracle;
use crate::disk::Job;
use crate::node::Node;

/// How often each file of each node was put, by inode.
pub(super) type Files = BTreeMap<(usize, u64), u64>;

impl Oracle {
    /// These rows are asked to go.
    pub(super) fn unspool_asked(&self, n: usize, change: &Change, nodes: &[Node]) {
        if let Change::Unspooled(segment) = change {
            let from = nodes[n].disk.spooled.get(segment);
            let early = from.is_some_and(|from| nodes[n].folder.may_hold(from.file.inode));
            assert!(!early, "[step] n{n} forgets {segment}, whose file is there");
        }
    }

    /// A job of `n` is durable.
    pub(super) fn spools_durable(&mut self, n: usize, job: &Job) {
        for change in &job.changes {
            let Change::Spooled(row) = change else {
                continue;
            };
            let made = |change: &Change| matches!(change, Change::Pack { info, .. } if info.first == row.segment);
            let with_pack = job.changes.iter().any(made);
            assert!(with_pack, "[step] n{n}: a row of a file without its put");
            self.tally.count("spool: put");
            let times = self.files.entry((n, row.from.file.inode)).or_default();
            *times += 1;
            assert!(*times == 1, "[step] n{n} puts {:?} twice", row.from.file);
        }
    }

    /// Every file ever dropped was put.
    pub(super) fn no_file_left(&self, n: usize, nodes: &[Node]) {
        for inode in 1..=nodes[n].folder.dropped() {
            let times = self.files.get(&(n, inode));
            assert!(times == Some(&1), "[rest] n{n} put file {inode} {times:?}");
        }
        let left = nodes[n].disk.spooled.iter().next();
        assert!(left.is_none(), "[rest] n{n} keeps {left:?}");
    }
}
