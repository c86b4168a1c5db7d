//! Frames become durable packs, on two threads of their own behind one bounded channel.
//!
//! ```text
//! workers ──frames──▶ assemble: seal into the open pack of its kind ──packs──▶ put: store, index rows, fragment
//! ```
//! Data flows forward only. A failure is kept for whoever ends the session; the channels close, and the workers stop at
//! their next frame.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use icecore_format::frame::Frame;
use icecore_format::pack::{PackBuilder, PackInfo, PackKind, SealedPack};

use crate::error::{Error, Result};
use crate::index::{PACKS_PER_FRAGMENT, publish};
use crate::layout;
use crate::objects::entropy;
use crate::session::Shared;

/// Frames that may wait: enough that workers do not stop while a pack is finished.
const WAITING_FRAMES: usize = 16;

/// A frame on its way into a pack.
pub(crate) struct Filled {
    pub(crate) kind: PackKind,
    pub(crate) frame: Frame,
}

pub(crate) struct PackWriter {
    sender: Sender<Filled>,
    assembler: JoinHandle<Result<()>>,
    putter: JoinHandle<Result<u64>>,
}

impl PackWriter {
    /// Starts the threads. `leftover` are durable packs that no fragment names yet.
    pub(crate) fn start(shared: &Arc<Shared>, leftover: Vec<PackInfo>) -> Self {
        let (sender, frames) = bounded(WAITING_FRAMES);
        // A rendezvous: one pack is being put while the next one fills, so at most two stand in memory for each kind.
        let (packs_in, packs) = bounded(0);
        let assembler = {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || assemble(&shared, &frames, &packs_in))
        };
        let putter = {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || put(&shared, &packs, leftover))
        };
        Self { sender, assembler, putter }
    }

    pub(crate) fn sender(&self) -> Sender<Filled> {
        self.sender.clone()
    }

    /// Waits until every frame that was sent is durable, indexed and named by a fragment; gives the bytes of the fragments.
    pub(crate) fn finish(self) -> Result<u64> {
        drop(self.sender);
        let assembled = self.assembler.join().map_err(|_| Error::WriterPanicked)?;
        let put = self.putter.join().map_err(|_| Error::WriterPanicked)?;
        // The putter's failure is the cause where both failed.
        let bytes = put?;
        assembled?;
        Ok(bytes)
    }
}

fn assemble(shared: &Shared, frames: &Receiver<Filled>, packs: &Sender<SealedPack>) -> Result<()> {
    let (mut data, mut manifest) = (None, None);
    for Filled { kind, frame } in frames {
        let open = match kind {
            PackKind::Data => &mut data,
            PackKind::Manifest => &mut manifest,
        };
        let builder = match open {
            Some(builder) => builder,
            None => {
                let key = shared.repository.seal_key();
                open.insert(PackBuilder::new(kind, &key, entropy()?, shared.pack_buffers.take()))
            }
        };
        shared.frame_buffers.give(builder.push(frame));
        if builder.len() >= shared.repository.config().pack_size as usize
            && let Some(full) = open.take()
        {
            packs.send(full.finish()).map_err(|_| Error::WriterStopped)?;
        }
    }
    for open in [data, manifest].into_iter().flatten() {
        packs.send(open.finish()).map_err(|_| Error::WriterStopped)?;
    }
    Ok(())
}

fn put(shared: &Shared, packs: &Receiver<SealedPack>, leftover: Vec<PackInfo>) -> Result<u64> {
    let mut unpublished = leftover;
    let mut fragments = 0;
    for SealedPack { info, bytes } in packs {
        shared.repository.store().put(&layout::pack(&info.id), &[&bytes])?;
        shared.index.insert_pack(&info)?;
        shared.stored(&info);
        shared.pack_buffers.give(bytes);
        unpublished.push(info);
        if unpublished.len() >= PACKS_PER_FRAGMENT {
            fragments += publish(&shared.index, &shared.repository, &unpublished)?;
            unpublished.clear();
        }
    }
    // Also when the session is given up: what was stored is named, so that the next session finds it.
    fragments += publish(&shared.index, &shared.repository, &unpublished)?;
    // Claims may have been answered by packs of another session of this host that are not named yet, or never will be.
    let others = shared.index.unpublished(&shared.repository)?;
    fragments += publish(&shared.index, &shared.repository, &others)?;
    Ok(fragments)
}
