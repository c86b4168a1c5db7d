//! Key slots: who can open the repository.

use icecore_format::entry::Timestamp;
use icecore_format::id::SlotId;
use icecore_format::keys::{Kdf, Role, Secret, Slot};
use icecore_store::Store;

use crate::error::{Error, Result};
use crate::layout;
use crate::objects::{entropy, get_verified};
use crate::repository::Repository;

/// Every usable slot, and a sentence for each object in their folder that is none.
pub type Slots = (Vec<(SlotId, Slot)>, Vec<String>);

pub(crate) fn put(store: &dyn Store, slot: &Slot) -> Result<SlotId> {
    let bytes = slot.encode();
    let id = SlotId::from_bytes(*blake3::hash(&bytes).as_bytes());
    store.put(&layout::slot(&id), &[&bytes])?;
    Ok(id)
}

/// Every readable slot, and a sentence for each object in their folder that is none: one damaged slot must not
/// shut out the others.
pub(crate) fn all(store: &dyn Store) -> Result<Slots> {
    let (mut slots, mut unusable, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    store.list(layout::SLOTS, &mut |listed| {
        keys.push(listed.key);
        Ok(())
    })?;
    keys.sort();
    for key in keys {
        let Some(id) = layout::id_of::<SlotId>(&key) else {
            unusable.push(format!("{key} is not a key slot"));
            continue;
        };
        match get_verified(store, &key, id.as_bytes()) {
            Ok(bytes) => match Slot::decode(&bytes) {
                Ok(slot) => slots.push((id, slot)),
                Err(error) => unusable.push(format!("{key}: {error}")),
            },
            Err(error @ Error::Damaged { .. }) => unusable.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok((slots, unusable))
}

/// Lists the key slots with what stands in them openly; the second list names unusable ones.
pub fn list(repository: &Repository) -> Result<Slots> {
    all(repository.store())
}

/// Adds a slot for `secret`. A writer cannot grant reading.
pub fn add(repository: &Repository, role: Role, secret: &Secret, label: &str, now: Timestamp) -> Result<SlotId> {
    if role == Role::Reader && repository.role() == Role::Writer {
        return Err(Error::WriteOnly);
    }
    let granted = match role {
        Role::Reader => repository.credentials().clone(),
        Role::Writer => repository.credentials().without_private(),
    };
    let kdf = Kdf::default_for(secret);
    let slot = Slot::create(&granted, secret, kdf, label, now, repository.id(), entropy()?)?;
    put(repository.store(), &slot)
}

/// Finds the one slot whose id begins with `prefix`.
pub fn find(repository: &Repository, prefix: &str) -> Result<(SlotId, Slot)> {
    let (slots, _) = list(repository)?;
    let mut hits = slots.into_iter().filter(|(id, _)| !prefix.is_empty() && id.to_string().starts_with(prefix));
    match (hits.next(), hits.next()) {
        (Some(hit), None) => Ok(hit),
        (None, _) => {
            Err(Error::NotFound(format!("no key slot begins with \"{prefix}\"; `icecore key list` shows them")))
        }
        (Some(_), Some(_)) => {
            Err(Error::NotFound(format!("several key slots begin with \"{prefix}\": give more digits")))
        }
    }
}

/// Removes a slot, unless it is the last one that can read.
pub fn remove(repository: &Repository, id: &SlotId) -> Result<()> {
    let (slots, _) = list(repository)?;
    if !slots.iter().any(|(other, slot)| other != id && slot.role() == Role::Reader) {
        return Err(Error::LastReader { slot: id.short() });
    }
    repository.store().delete(&layout::slot(id))?;
    Ok(())
}

/// Replaces every slot that `old` opens by one of the same role and label for `new`. The new one is durable before an old
/// one goes, so that an interruption leaves a way in. Gives the new slot and how many old ones were removed.
pub fn change(repository: &Repository, old: &Secret, new: &Secret, now: Timestamp) -> Result<(SlotId, usize)> {
    let (slots, _) = list(repository)?;
    let opened: Vec<_> = slots.into_iter().filter(|(_, slot)| slot.open(old, repository.id()).is_ok()).collect();
    let Some((_, first)) = opened.iter().max_by_key(|(_, slot)| slot.role() == Role::Reader) else {
        return Err(Error::NotFound("no key slot opens with the old password".to_owned()));
    };
    let id = add(repository, first.role(), new, first.label(), now)?;
    for (old_id, _) in &opened {
        repository.store().delete(&layout::slot(old_id))?;
    }
    Ok((id, opened.len()))
}
