use std::collections::{HashMap, VecDeque};

use bartizan_core::Key;
use parking_lot::Mutex;

use crate::corrections::Correction;
use crate::lease::{LIFE, Lease, Quota};

/// The leases of a process, by key and policy: at most 65 536, some 16 MiB.
///
/// One that has not been used for a second is dropped, and what is unspent of it goes back. When all
/// places are taken, further keys do without: each of their requests asks the store.
pub(crate) struct Leases(Box<[Mutex<Shard>]>);

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// When to look at which: in this order, since all live equally long.
    due: VecDeque<(u64, Key)>,
}

struct Entry {
    lease: Lease,
    /// Where the store keeps the arrival time.
    name: Box<str>,
}

const SHARDS: usize = 64;
const ENTRIES: usize = 1024;

impl Leases {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn shard(&self, id: Key) -> &Mutex<Shard> {
        &self.0[id.as_u128() as usize % SHARDS]
    }

    /// Does something with a lease, if it is there and of this quota.
    pub(crate) fn with<R>(
        &self,
        id: Key,
        quota: Quota,
        f: impl FnOnce(&mut Lease) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(id).lock();
        let lease = &mut shard.entries.get_mut(&id)?.lease;
        (lease.quota() == quota).then(|| f(lease))
    }

    /// Makes room for a lease and does something with it. If the key had one of another quota, what
    /// is unspent of that is returned. `None` if there is no room.
    pub(crate) fn open<R>(
        &self,
        id: Key,
        quota: Quota,
        now: u64,
        name: &str,
        f: impl FnOnce(&mut Lease) -> R,
    ) -> Option<(R, Option<Correction>)> {
        let mut shard = self.shard(id).lock();
        let Shard { entries, due } = &mut *shard;
        let mut lease = Lease::new(quota, now);
        let result = f(&mut lease);
        if let Some(entry) = entries.get_mut(&id) {
            let ended = entry.end(u64::MAX);
            entry.lease = lease;
            return Some((result, ended));
        }
        if entries.len() >= ENTRIES {
            return None;
        }
        entries.insert(id, Entry { lease, name: name.into() });
        due.push_back((now.saturating_add(LIFE), id));
        Some((result, None))
    }

    /// Drops the leases that have ended by `now`, and tells `give_back` what is unspent of them.
    /// True if any is left.
    pub(crate) fn sweep(&self, now: u64, mut give_back: impl FnMut(Correction)) -> bool {
        let mut left = false;
        for shard in &self.0 {
            let mut shard = shard.lock();
            let Shard { entries, due } = &mut *shard;
            let ripe = due.iter().take_while(|(at, _)| *at <= now).count();
            for _ in 0..ripe {
                let Some((_, id)) = due.pop_front() else { break };
                let Some(entry) = entries.get_mut(&id) else { continue };
                entry.end(now).into_iter().for_each(&mut give_back);
                match entry.lease.forgotten() {
                    Some(at) if at <= now => drop(entries.remove(&id)),
                    Some(at) => due.push_back((at, id)),
                    None => due.push_back((now.saturating_add(LIFE), id)),
                }
            }
            left |= !due.is_empty();
        }
        left
    }
}

impl Entry {
    fn end(&mut self, now: u64) -> Option<Correction> {
        let unspent = self.lease.end(now);
        (unspent > 0)
            .then(|| Correction::new(self.name.clone(), self.lease.quota(), -i64::from(unspent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Answer, Grant};

    const QUOTA: Quota =
        Quota { interval: 1_000_000, capacity: 1_000_000_000, longest: 1_000_000_000 };

    fn open(leases: &Leases, key: u64, now: u64) -> Option<Option<Correction>> {
        let got = leases.open(Key::of(&key), QUOTA, now, "name", |lease| {
            lease.told(now, (1, 5), Grant::Lease, 0, 0.5);
        });
        got.map(|(_, ended)| ended)
    }

    #[test]
    fn unspent_units_go_back_once() {
        let leases = Leases::new();
        assert_eq!(open(&leases, 1, 0), Some(None));
        let mut given_back = Vec::new();
        assert!(leases.sweep(LIFE - 1, |correction| given_back.push(correction)));
        assert!(given_back.is_empty());
        assert!(!leases.sweep(LIFE, |correction| given_back.push(correction)));
        assert_eq!(given_back, [Correction::new("name".into(), QUOTA, -4)]);
        assert!(!leases.sweep(9 * LIFE, |_| panic!("again")));
    }

    #[test]
    fn another_quota_begins_another_lease() {
        let leases = Leases::new();
        open(&leases, 1, 0);
        let tier = Quota { interval: 5, capacity: 50, longest: 1_000_000_000 };
        let spend = |lease: &mut Lease| lease.ask(1, 1, 1);
        assert_eq!(leases.with(Key::of(&1_u64), tier, spend), None);
        let (answer, ended) = leases.open(Key::of(&1_u64), tier, 1, "name", spend).unwrap();
        assert!(matches!(answer, Answer::Ask { .. }));
        assert_eq!(ended, Some(Correction::new("name".into(), QUOTA, -4)));
    }

    #[test]
    fn a_flood_of_keys_finds_no_room_but_an_end() {
        let leases = Leases::new();
        let opened = (0..200_000).filter(|key| open(&leases, *key, 0).is_some()).count();
        assert_eq!(opened, SHARDS * ENTRIES);
        assert!(!leases.sweep(LIFE, |_| ()));
        assert!(open(&leases, 1, LIFE).is_some());
    }
}
