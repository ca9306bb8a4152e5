//! What a file holds, and what of it a power cut leaves.

use std::collections::BTreeMap;

use crate::seeds::Dice;

/// What a disk writes all of, or nothing.
const SECTOR: u64 = 512;
/// What the kernel keeps clean or dirty.
const PAGE: usize = 4096;

/// The bytes of a file as last synced, and what was done to it since.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    synced: Vec<u8>,
    since: Vec<Change>,
    /// What a process reads, once that is more than the disk will ever have: a sync failed.
    seen: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Content {
    pub(super) const fn synced(bytes: Vec<u8>) -> Self {
        Self {
            synced: bytes,
            since: Vec::new(),
            seen: None,
        }
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let (mut at, mut bytes) = (at, bytes.to_vec());
        if let Some(seen) = &mut self.seen {
            let (from, to) = (at as usize, at as usize + bytes.len());
            seen.resize(seen.len().max(to), 0);
            seen[from..to].copy_from_slice(&bytes);
            // The page becomes dirty whole, with what was lost of it.
            let whole = from / PAGE * PAGE..seen.len().min(to.next_multiple_of(PAGE));
            (at, bytes) = (whole.start as u64, seen[whole].to_vec());
        }
        self.since.push(Change::Write { at, bytes });
    }

    pub(super) fn set_length(&mut self, to: u64) {
        if let Some(seen) = &mut self.seen {
            seen.resize(to as usize, 0);
        }
        self.since.push(Change::Length(to));
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.whole();
        self.since.clear();
    }

    /// A sync fails: what was written since the last one is read as before, and no later
    /// sync brings it to the disk (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    pub(super) fn fail_sync(&mut self) {
        if self.seen.is_none() {
            self.seen = Some(self.whole());
        }
        self.since.clear();
    }

    /// As a process that wrote all of it reads it.
    fn whole(&self) -> Vec<u8> {
        let all = self.since.len();
        self.at(|_| all, all)
    }

    /// The bytes after a power cut.
    pub(super) fn lose(&self, dice: &mut Dice) -> Vec<u8> {
        let all = self.since.len();
        let mut between = |low: usize, high: usize| dice.between(low as u64, high as u64) as usize;
        match between(0, 9) {
            0 => self.at(|_| 0, 0),
            1 => self.at(|_| all, all),
            // Up to some moment, and a part of what was written next.
            2..=4 => {
                let moment = between(0, all);
                let torn = self.touched(moment..all.min(moment + 1));
                let kept: BTreeMap<u64, usize> = match between(0, 1) {
                    0 => torn.iter().map(|at| (*at, between(0, 1))).collect(),
                    _ => {
                        let whole = between(0, torn.len());
                        torn.iter().take(whole).map(|at| (*at, 1)).collect()
                    }
                };
                let length = moment + between(0, 1).min(all - moment);
                self.at(|at| moment + kept.get(&at).copied().unwrap_or(0), length)
            }
            // Every write has a fate of its own.
            5..=7 => {
                let mut last: BTreeMap<u64, usize> = BTreeMap::new();
                for n in 0..all {
                    let torn = self.touched(n..n + 1);
                    let whole = match between(0, 3) {
                        0 | 1 => torn.len(),
                        2 => 0,
                        _ => between(0, torn.len()),
                    };
                    last.extend(torn.into_iter().take(whole).map(|at| (at, n + 1)));
                }
                let length = between(0, all);
                self.at(|at| last.get(&at).copied().unwrap_or(0), length)
            }
            // So has every sector.
            _ => {
                let own: BTreeMap<u64, usize> = self
                    .touched(0..all)
                    .into_iter()
                    .map(|at| (at, between(0, all)))
                    .collect();
                let length = between(0, all);
                self.at(|at| own.get(&at).copied().unwrap_or(0), length)
            }
        }
    }

    /// The sectors written to by some of the changes, rising.
    fn touched(&self, which: std::ops::Range<usize>) -> Vec<u64> {
        let mut touched: Vec<u64> = self.since[which]
            .iter()
            .flat_map(|change| match change {
                Change::Write { at, bytes } if !bytes.is_empty() => {
                    at / SECTOR..(at + bytes.len() as u64).div_ceil(SECTOR)
                }
                Change::Write { .. } | Change::Length(_) => 0..0,
            })
            .collect();
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    /// The file whose sectors have seen so many of the changes each, and its length so many.
    fn at(&self, moment: impl Fn(u64) -> usize, length_moment: usize) -> Vec<u8> {
        let (mut bytes, mut length) = (self.synced.clone(), self.synced.len());
        for (n, change) in self.since.iter().enumerate() {
            match change {
                Change::Write { at, bytes: new } => {
                    let end = *at as usize + new.len();
                    if n < length_moment {
                        length = length.max(end);
                    }
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    let mut done = 0;
                    while done < new.len() {
                        let from = *at + done as u64;
                        let run = ((SECTOR - from % SECTOR) as usize).min(new.len() - done);
                        if n < moment(from / SECTOR) {
                            let to = from as usize;
                            bytes[to..to + run].copy_from_slice(&new[done..done + run]);
                        }
                        done += run;
                    }
                }
                // What lies beyond reads as zeros, if the file grows over it again.
                Change::Length(to) => {
                    if n < length_moment {
                        length = *to as usize;
                        let kept = (*to as usize).min(bytes.len());
                        bytes[kept..].fill(0);
                    }
                }
            }
        }
        bytes.resize(length, 0);
        bytes
    }
}
