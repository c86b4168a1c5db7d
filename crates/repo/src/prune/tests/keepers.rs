//! Copies of which one goes and one stays: the one that stays is read before the other is deleted.

use icecore_store::error::Operation;
use icecore_testkit::Recording;

use super::*;

fn all() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..options() }
}

/// Nothing is copied to make room.
fn lazy() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Percent(100), ..options() }
}

/// The same content in two packs, by hosts that did not know of each other; a snapshot needs a part of it.
struct Twice {
    place: Place,
    kept: SnapshotId,
    keeper: PackId,
    spare: PackId,
}

impl Twice {
    /// The spare pack is marked, and the other one was sound when that was decided.
    fn marked() -> Self {
        let place = Place::new();
        let (host, other) = (place.host("a", at(0)), place.host("b", at(0)));
        let old = [(&host, "a"), (&other, "b")]
            .map(|(host, name)| host.back_up(name, &(0..10).collect(), &|| at(0)).unwrap());
        host.index.sync_at(&host.repository, at(1)).unwrap();
        let kept = host.back_up("a", &(5..10).collect(), &|| at(1)).unwrap();
        let packs = host.index.packs().unwrap().into_iter().filter(|(_, kind, _)| *kind == PackKind::Data);
        let mut packs: Vec<PackId> = packs.map(|(id, ..)| id).collect();
        packs.sort();
        let [keeper, spare] = packs[..] else { panic!("{packs:?}") };
        old.iter().for_each(|id| catalogue::forget(&host.repository, id).unwrap());
        host.prune(&lazy(), at(2)).unwrap();
        assert!(host.index.marked().unwrap().contains(&spare));
        Self { place, kept, keeper, spare }
    }

    /// Damages the last frame of the pack that is to stay.
    fn damage_keeper(&self) {
        let host = self.place.host("a", at(3));
        let key = layout::pack(&self.keeper);
        let mut bytes = self.place.store.get(&key).unwrap();
        bytes[host.index.frames(&self.keeper).unwrap().last().unwrap().offset as usize + 7] ^= 1;
        self.place.store.delete(&key).unwrap();
        self.place.store.put(&key, &[&bytes]).unwrap();
    }

    fn stands(&self, pack: &PackId) -> bool {
        self.place.store.size(&layout::pack(pack)).unwrap().is_some()
    }
}

#[test]
fn the_last_good_copy_does_not_go_for_the_sake_of_one_that_was_damaged_since() {
    for lost in [false, true] {
        let twice = Twice::marked();
        match lost {
            true => twice.place.store.delete(&layout::pack(&twice.keeper)).unwrap(),
            false => twice.damage_keeper(),
        }
        let host = twice.place.host("a", at(30 * HOUR));
        let report = host.prune(&lazy(), at(30 * HOUR)).unwrap();
        assert!(!twice.stands(&twice.spare) && report.copied > 0, "{report:?}");
        assert!(report.damaged.iter().any(|what| what.contains(&twice.keeper.to_string())), "{report:?}");
        for name in ["a", "b", "fresh"] {
            twice.place.host(name, at(30 * HOUR)).restores(&twice.kept).unwrap();
        }
        for days in 2..6 {
            host.prune(&all(), at(days * 30 * HOUR)).unwrap();
            twice.place.host("fresh", at(days * 30 * HOUR)).restores(&twice.kept).unwrap();
        }
    }
}

#[test]
fn damage_that_one_host_knows_of_is_found_by_another_before_it_deletes() {
    let twice = Twice::marked();
    twice.damage_keeper();
    let knows = twice.place.host("a", at(4));
    crate::check::check(&knows.repository, &knows.index, full(), &|_| Ok(())).unwrap();
    // The other host's index still names both.
    let other = twice.place.host("b", at(30 * HOUR));
    let report = other.prune(&lazy(), at(30 * HOUR)).unwrap();
    assert!(!twice.stands(&twice.spare) && report.copied > 0 && report.damaged.len() == 1, "{report:?}");
    twice.place.host("fresh", at(0)).restores(&twice.kept).unwrap();
}

#[test]
fn a_damaged_pack_goes_when_all_that_is_needed_of_it_can_be_read_elsewhere() {
    let twice = Twice::marked();
    let key = layout::pack(&twice.spare);
    let bytes = twice.place.store.get(&key).unwrap();
    twice.place.store.delete(&key).unwrap();
    twice.place.store.put(&key, &[&bytes[..bytes.len() / 2]]).unwrap();
    let host = twice.place.host("a", at(30 * HOUR));
    let report = host.prune(&lazy(), at(30 * HOUR)).unwrap();
    assert!(!twice.stands(&twice.spare) && report.copied == 0 && report.damaged.is_empty(), "{report:?}");
    host.restores(&twice.kept).unwrap();
}

/// Of what goes the footer is read, and the frames of the copies once.
#[test]
fn what_goes_costs_little() {
    let (store, room) = (Arc::new(Recording::new(MemoryStore::new())), TempDir::new().unwrap());
    small_repository(&*store, &secret(1));
    let host = Host::open(store.clone(), room.path(), at(0));
    let dead = host.back_up("a", &(100..110).collect(), &|| at(0)).unwrap();
    let parts = host.back_up("b", &(0..12).collect(), &|| at(0)).unwrap();
    host.back_up("b", &(9..12).collect(), &|| at(1)).unwrap();
    let before: Vec<_> = host.index.packs().unwrap();
    [dead, parts].iter().for_each(|id| catalogue::forget(&host.repository, id).unwrap());
    assert_eq!(host.prune(&all(), at(2)).unwrap().repacked, 1);
    let marked = host.index.marked().unwrap();
    store.take();
    assert!(host.prune(&all(), at(30 * HOUR)).unwrap().deleted > 0);
    let read = |of_marked: bool| -> (usize, u64) {
        let packs = host.index.packs().unwrap().into_iter().chain(before.clone());
        let ids: BTreeSet<PackId> = packs.map(|(id, ..)| id).filter(|id| marked.contains(id) == of_marked).collect();
        let calls = ids.iter().map(|id| store.sum(Operation::Get, layout::pack(id).as_str()));
        calls.fold((0, 0), |(calls, bytes), (more, size)| (calls + more, bytes + size))
    };
    // Header, trailer, footer.
    let (calls, bytes) = read(true);
    assert!(calls == 3 * marked.len() && bytes < 4096, "{calls} calls, {bytes} bytes");
    // Three files of a frame each, and the header of their pack.
    let (calls, bytes) = read(false);
    assert!((2..=4).contains(&calls) && bytes < 4 * FILE as u64, "{calls} calls, {bytes} bytes");
}

#[test]
fn what_stands_in_marked_packs_alone_is_told_until_it_is_copied() {
    let place = Place::new();
    let host = place.host("a", at(0));
    let old = host.back_up("old", &(0..20).collect(), &|| at(0)).unwrap();
    catalogue::forget(&host.repository, &old).unwrap();
    host.prune(&options(), at(1)).unwrap();
    // Committed by somebody who did not see the marks, as if just before them.
    let mut blind = place.host("blind", at(0));
    Arc::get_mut(&mut blind.index).unwrap().weak = Weak { ignore_marks: true, ..Weak::default() };
    blind.back_up("blind", &(0..5).collect(), &|| at(1)).unwrap();
    host.index.sync_at(&host.repository, at(2)).unwrap();
    let look = |now| {
        let options = crate::check::CheckOptions { now, ..full() };
        let report = crate::check::check(&host.repository, &host.index, options, &|_| Ok(())).unwrap();
        assert!(report.is_clean(), "{report:?}");
        report.needed_of_marked
    };
    assert_eq!(look(at(2)), 5);
    host.prune(&options(), at(30 * HOUR)).unwrap();
    assert_eq!(look(at(30 * HOUR)), 0);
}
