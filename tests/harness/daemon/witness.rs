//! What a stopped node's disk holds, every byte hashed anew.
//!
//! The daemon's own answers prove nothing about its disk. A [`Witness`] opens the
//! ledger of a node that does not run and reads what lies there: the inbox with
//! the digests of the bytes found, the deliveries to others with their histories.
//! Opening begins a boot epoch and closes open attempts, as any start does; who
//! wants to see what stood open looks through [`super::Rows`] first.

use std::collections::BTreeMap;

use relay_core::id::{NodeNo, PackNo};
use relay_core::ledger::{DeliveryFilter, InboxFilter, InboxItem, Ledger, Loaded, Options, Reader};
use relay_core::time::Unix;

use super::Home;

/// One segment in an inbox, or owed to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub id: [u8; 16],
    /// How long its bytes are.
    pub length: u64,
    /// The digest its table promises.
    pub promised: [u8; 32],
    /// The digest of the bytes that lie there.
    pub found: [u8; 32],
}

/// The state of a delivery, with what it took to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The segment.
    pub id: [u8; 16],
    /// The peer.
    pub peer: String,
    /// The state's name.
    pub state: &'static str,
    /// Attempts that counted against the budget.
    pub spent: u32,
}

/// A reader of a stopped node's ledger.
pub struct Witness {
    _ledger: Ledger,
    reader: Reader,
    peers: BTreeMap<NodeNo, String>,
}

/// Rows asked for at once.
const PAGE: usize = 4096;

impl Witness {
    /// The ledger of a node that does not run.
    ///
    /// # Panics
    /// If it runs, or its ledger does not open.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        let lock = edged::lock::StateLock::take(home.state()).expect("the node does not run");
        let node = home.name().parse().expect("a node id");
        let options = Options::new(node, 8 << 30, 0);
        let (ledger, snapshot) =
            Ledger::open(home.state(), options, Unix(0)).expect("the ledger opens");
        drop(lock);
        let reader = ledger.reader().expect("the ledger can be read");
        let peers = snapshot
            .nodes
            .iter()
            .map(|(no, name)| (*no, name.to_string()))
            .collect();
        Self {
            _ledger: ledger,
            reader,
            peers,
        }
    }

    /// Everything in the inbox, in the order of arrival.
    ///
    /// # Panics
    /// If a row or a byte cannot be read.
    pub fn inbox(&mut self) -> Vec<Item> {
        let (mut items, mut after) = (Vec::new(), None);
        loop {
            let page = self.reader.inbox(&InboxFilter::default(), after, PAGE);
            let page = page.expect("the inbox can be read");
            items.extend(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(self.reader.damaged(), 0, "no row is damaged");
        self.hashed(&items)
    }

    /// Everything owed to others, or settled and kept.
    ///
    /// # Panics
    /// If a row cannot be read.
    pub fn deliveries(&mut self) -> Vec<Delivered> {
        let filter = DeliveryFilter {
            remote: true,
            ..DeliveryFilter::default()
        };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .reader
                .deliveries(&filter, after, PAGE)
                .expect("rows can be read");
            all.extend(page.rows.into_iter().map(|delivery| {
                Delivered {
                    id: delivery.segment.id.0,
                    peer: self
                        .peers
                        .get(&delivery.row.due.peer)
                        .cloned()
                        .unwrap_or_default(),
                    state: delivery.row.state.name().as_str(),
                    spent: delivery.row.spent,
                }
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(self.reader.damaged(), 0, "no row is damaged");
        all
    }

    /// Reads each pack once and hashes what lies where the table points.
    fn hashed(&mut self, items: &[InboxItem]) -> Vec<Item> {
        let mut open: Option<(PackNo, Loaded)> = None;
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            if open.as_ref().is_none_or(|(pack, _)| *pack != item.pack) {
                let loaded = self
                    .reader
                    .load(item.pack)
                    .expect("a pack in the inbox is there");
                open = Some((item.pack, loaded));
            }
            let (_, loaded) = open.as_ref().expect("it was just loaded");
            found.push(Item {
                id: item.id.0,
                length: item.length,
                promised: item.digest.0,
                found: hash(loaded, item),
            });
        }
        found
    }
}

fn hash(loaded: &Loaded, item: &InboxItem) -> [u8; 32] {
    match loaded {
        Loaded::Memory { bytes, table_len } => {
            let from = *table_len as usize + usize::try_from(item.offset).expect("it is in memory");
            let length = usize::try_from(item.length).expect("it is in memory");
            *blake3::hash(&bytes[from..from + length]).as_bytes()
        }
        Loaded::File { path, len, .. } => {
            assert_eq!(*len, item.length, "a file holds one segment");
            let file = std::fs::File::open(path).expect("a payload file opens");
            let mut hasher = blake3::Hasher::new();
            hasher
                .update_reader(file)
                .expect("a payload file can be read");
            *hasher.finalize().as_bytes()
        }
    }
}
