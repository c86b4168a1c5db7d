//! Where a file is cut into chunks.
//!
//! | class | cut |
//! |---|---|
//! | [`Class::Pages`] | at absolute multiples of a whole number of pages |
//! | [`Class::Structured`] | by content: FastCDC with a small average |
//! | [`Class::Opaque`] | by content: FastCDC with a large average |
//!
//! Where a chunk ends depends on its own bytes alone (and, for pages, on its offset), never on what
//! follows it or on how the file was read. Hence bytes that hash to a known chunk, which stand where a
//! cut fell and did not end the data then, prove the next cut without running the gear over them.

mod detect;

use fastcdc::v2020::{self, Normalization};
use minicbor::{Decode, Encode};

pub use self::detect::{detect, looks_incompressible};
use crate::entry::Class;

/// The largest page that [`Class::Pages`] may name, bytes (SQLite's; Firebird stops at half of it).
const MAX_PAGE: u32 = 64 << 10;

/// The range of [`CutParams::pages`], bytes.
const PAGES: std::ops::RangeInclusive<u32> = 512..=1 << 20;

/// Bounds of content-defined chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cdc {
    /// No chunk is as short as this, except the last one.
    #[n(0)]
    pub min: u32,
    /// Up to this length a cut is rare, beyond it frequent.
    #[n(1)]
    pub average: u32,
    /// No chunk is longer.
    #[n(2)]
    pub max: u32,
}

impl Cdc {
    /// Tells whether cutting can work with these bounds: powers of two, ascending, and in the ranges that
    /// the `fastcdc` crate has masks for (minimum 64 B to 1 MiB, average 256 B to 4 MiB, maximum 1 KiB to 16 MiB).
    pub fn validate(&self) -> Result<(), CutError> {
        let Self { min, average, max } = *self;
        let within =
            |size: u32, low: usize, high: usize| size.is_power_of_two() && (low..=high).contains(&(size as usize));
        let valid = within(min, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX)
            && within(average, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX)
            && within(max, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX)
            && min < average
            && average < max;
        if valid { Ok(()) } else { Err(CutError::Cdc { min, average, max }) }
    }
}

/// How every file of a repository is cut. Stands in its configuration and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CutParams {
    /// What [`Class::Pages`] aims at, bytes: a chunk is the smallest multiple of the page that reaches it.
    #[cbor(n(0), decode_with = "decode_pages")]
    pub pages: u32,
    /// For [`Class::Structured`].
    #[cbor(n(1), decode_with = "decode_cdc")]
    pub structured: Cdc,
    /// For [`Class::Opaque`].
    #[cbor(n(2), decode_with = "decode_cdc")]
    pub opaque: Cdc,
}

impl Default for CutParams {
    fn default() -> Self {
        Self {
            pages: 16 << 10,
            structured: Cdc { min: 16 << 10, average: 64 << 10, max: 256 << 10 },
            opaque: Cdc { min: 64 << 10, average: 256 << 10, max: 1 << 20 },
        }
    }
}

impl CutParams {
    /// Tells whether cutting can work with these parameters. Decoded ones always pass.
    pub fn validate(&self) -> Result<(), CutError> {
        validate_pages(self.pages)?;
        self.structured.validate()?;
        self.opaque.validate()
    }
}

/// Cutting parameters that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// [`CutParams::pages`] is not usable.
    #[error("page chunks of {0} bytes: expected a power of two from 512 B to 1 MiB")]
    Pages(u32),
    /// [`Cdc`] bounds are not usable.
    #[error(
        "content-defined chunks of {min}/{average}/{max} bytes: expected three ascending powers of two, \
         at least 64/256/1024 B and at most 1/4/16 MiB"
    )]
    Cdc {
        /// Minimum, bytes.
        min: u32,
        /// Average, bytes.
        average: u32,
        /// Maximum, bytes.
        max: u32,
    },
}

fn validate_pages(pages: u32) -> Result<(), CutError> {
    if pages.is_power_of_two() && PAGES.contains(&pages) { Ok(()) } else { Err(CutError::Pages(pages)) }
}

fn decode_pages<C>(d: &mut minicbor::Decoder<'_>, _: &mut C) -> Result<u32, minicbor::decode::Error> {
    let pages = d.u32()?;
    validate_pages(pages).map_err(minicbor::decode::Error::custom)?;
    Ok(pages)
}

fn decode_cdc<C>(d: &mut minicbor::Decoder<'_>, ctx: &mut C) -> Result<Cdc, minicbor::decode::Error> {
    let cdc = Cdc::decode(d, ctx)?;
    cdc.validate().map_err(minicbor::decode::Error::custom)?;
    Ok(cdc)
}

/// Cuts the files of one class. Holds no data; one cutter may serve many files.
#[derive(Debug, Clone, Copy)]
pub struct Cutter(Method);

#[derive(Debug, Clone, Copy)]
enum Method {
    Aligned { size: usize },
    Content { min: usize, average: usize, max: usize, rare: u64, frequent: u64 },
}

impl Cutter {
    /// Prepares to cut files of a class. A page size that no database has (it may come from a damaged
    /// manifest) is ignored: the chunks then have the size that the parameters aim at.
    ///
    /// # Panics
    /// If the parameters fail [`CutParams::validate`].
    pub fn new(class: Class, params: &CutParams) -> Self {
        params.validate().expect("cutting parameters are validated where they enter");
        Self(match class {
            Class::Pages { page: page @ 1..=MAX_PAGE } => {
                Method::Aligned { size: (params.pages.div_ceil(page) * page) as usize }
            }
            Class::Pages { .. } => Method::Aligned { size: params.pages as usize },
            Class::Structured => Method::content(&params.structured),
            Class::Opaque => Method::content(&params.opaque),
        })
    }

    /// The length of the longest chunk, bytes: what a buffer must be able to hold.
    pub fn max_chunk(&self) -> usize {
        match self.0 {
            Method::Aligned { size } => size,
            Method::Content { max, .. } => max,
        }
    }

    /// Gives the length of the first chunk of `data`, whose first byte stands at `offset` of the file and
    /// begins a chunk. `last` says that the data ends where the file, or the extent before a hole, ends.
    ///
    /// `None` asks for more bytes; never when there are [`max_chunk`](Self::max_chunk) of them, or when
    /// `last` is set and there is at least one.
    pub fn next(&self, data: &[u8], offset: u64, last: bool) -> Option<usize> {
        let whole = match self.0 {
            // The remainder is below `size`, which is a usize.
            Method::Aligned { size } => size - (offset % size as u64) as usize,
            Method::Content { max, .. } => max,
        };
        if data.is_empty() || (data.len() < whole && !last) {
            return None;
        }
        let data = &data[..whole.min(data.len())];
        Some(match self.0 {
            Method::Aligned { .. } => data.len(),
            Method::Content { min, average, max, rare, frequent } => {
                let (_, cut) = v2020::cut(data, min, average, max, rare, frequent, rare << 1, frequent << 1);
                // The crate cuts before the byte whose hash decides. We cut after it, so that the chunk
                // holds all that decided its end.
                data.len().min(cut + 1)
            }
        })
    }
}

impl Method {
    fn content(cdc: &Cdc) -> Self {
        let (rare, frequent) = v2020::select_masks(cdc.average as usize, Normalization::Level1);
        Self::Content { min: cdc.min as usize, average: cdc.average as usize, max: cdc.max as usize, rare, frequent }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: [Class; 5] = [
        Class::Structured,
        Class::Opaque,
        Class::Pages { page: 512 },
        Class::Pages { page: 12 << 10 },
        Class::Pages { page: 64 << 10 },
    ];

    /// Small chunks, so that little data has many.
    fn small() -> CutParams {
        CutParams {
            pages: 1024,
            structured: Cdc { min: 64, average: 256, max: 1024 },
            opaque: Cdc { min: 256, average: 1024, max: 4096 },
        }
    }

    /// SplitMix64: fixed pseudo-random bytes.
    fn noise(mut seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// The chunk lengths of a file, all of it at hand.
    fn lengths(cutter: &Cutter, data: &[u8], start: u64) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut at = 0;
        while let Some(len) = cutter.next(&data[at..], start + at as u64, true) {
            lengths.push(len);
            at += len;
        }
        assert_eq!(at, data.len());
        lengths
    }

    /// The same, with a buffer that is filled by reads of the given sizes.
    fn lengths_buffered(cutter: &Cutter, data: &[u8], start: u64, reads: &[usize]) -> Vec<usize> {
        let mut lengths = Vec::new();
        let (mut from, mut to) = (0, 0);
        let mut reads = reads.iter().copied().cycle();
        loop {
            match cutter.next(&data[from..to], start + from as u64, to == data.len()) {
                Some(len) => {
                    lengths.push(len);
                    from += len;
                }
                None if to == data.len() => return lengths,
                None => {
                    assert!(to - from < cutter.max_chunk(), "asked for more with a whole chunk at hand");
                    to = data.len().min(to + reads.next().unwrap());
                }
            }
        }
    }

    #[test]
    fn golden_cut_points() {
        let cutter = |class| Cutter::new(class, &CutParams::default());
        let data = noise(1, 2 << 20);
        assert_eq!(
            lengths(&cutter(Class::Structured), &data[..1 << 20], 0),
            [
                28129, 87550, 64925, 67788, 30364, 38273, 50371, 101085, 100168, 79822, 94750, 68129, 37731, 77250,
                65957, 56284
            ]
        );
        assert_eq!(lengths(&cutter(Class::Opaque), &data, 0), [278756, 88644, 296107, 404445, 750279, 278921]);
        let text: Vec<u8> =
            (0..60_000u32).flat_map(|n| format!("line {} of a log\n", n * n % 7919).into_bytes()).collect();
        assert_eq!(
            lengths(&cutter(Class::Structured), &text, 0),
            [106848, 149222, 149222, 149222, 149222, 149222, 149222, 128446]
        );
        assert_eq!(lengths(&cutter(Class::Structured), &[0; 600 << 10], 0), [256 << 10, 256 << 10, 88 << 10]);
        assert_eq!(lengths(&cutter(Class::Pages { page: 8192 }), &data[..40_000], 0), [16384, 16384, 7232]);
    }

    #[test]
    fn page_chunks_are_multiples_of_the_page() {
        let size = |page| Cutter::new(Class::Pages { page }, &CutParams::default()).max_chunk();
        assert_eq!([512, 4096, 8192, 16384].map(size), [16384; 4]);
        assert_eq!(size(12 << 10), 24 << 10);
        assert_eq!(size(32 << 10), 32 << 10);
        assert_eq!(size(64 << 10), 64 << 10);
        // Nonsense from a damaged manifest neither divides by zero nor makes a chunk of gigabytes.
        assert_eq!([0, (64 << 10) + 1, u32::MAX].map(size), [16384; 3]);
    }

    #[test]
    fn a_page_changes_only_its_own_chunk() {
        let cutter = Cutter::new(Class::Pages { page: 8192 }, &CutParams::default());
        // After a hole the first chunk is shorter, then the cuts are absolute again.
        assert_eq!(lengths(&cutter, &[7; 50_000], 8192), [8192, 16384, 16384, 9040]);
        assert_eq!(lengths(&cutter, &[7; 100], (1 << 60) + 5), [100]);
    }

    #[test]
    fn parameters_are_checked_also_when_decoded() {
        CutParams::default().validate().unwrap();
        let encoded = minicbor::to_vec(CutParams::default()).unwrap();
        assert_eq!(minicbor::decode::<CutParams>(&encoded).unwrap(), CutParams::default());
        let base = CutParams::default();
        let cdc = |min, average, max| CutParams { structured: Cdc { min, average, max }, ..base };
        for bad in [
            CutParams { pages: 0, ..base },
            CutParams { pages: 24 << 10, ..base },
            CutParams { pages: 2 << 20, ..base },
            cdc(0, 65536, 262_144),
            cdc(16384, 65537, 262_144),
            cdc(65536, 65536, 262_144),
            cdc(16384, 65536, 65536),
            cdc(16384, 8 << 20, 16 << 20),
            cdc(16384, 65536, 1 << 31),
            CutParams { opaque: Cdc { min: 1, average: 2, max: 4 }, ..base },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
            assert!(minicbor::decode::<CutParams>(&minicbor::to_vec(bad).unwrap()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn golden_parameters() {
        let hex: String = minicbor::to_vec(CutParams::default()).unwrap().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "a30019400001a300194000011a00010000021a0004000002a3001a00010000011a00040000021a00100000");
    }

    /// The loop that docs/format.md gives.
    fn documented(data: &[u8], cdc: &Cdc) -> usize {
        let (gear, _) = v2020::get_gear_with_seed(0);
        let mask = |average: u32| v2020::MASKS[average.ilog2() as usize];
        let mut h = 0u64;
        for i in cdc.min as usize..data.len().min(cdc.max as usize) {
            h = (h << 1).wrapping_add(gear[usize::from(data[i])]);
            if h & mask(if i < cdc.average as usize { cdc.average * 2 } else { cdc.average / 2 }) == 0 {
                return i + 1;
            }
        }
        data.len().min(cdc.max as usize)
    }

    #[test]
    fn average_chunks_have_about_the_average_size() {
        let cutter = Cutter::new(Class::Structured, &small());
        let average = (1 << 20) / lengths(&cutter, &noise(5, 1 << 20), 0).len();
        assert!((200..400).contains(&average), "{average}");
    }

    proptest! {
        #[test]
        fn cuts_cover_the_data_whatever_the_buffering(
            seed: u64,
            len in 0usize..20_000,
            start in prop_oneof![Just(0u64), 0u64..1 << 40],
            reads in prop::collection::vec(1usize..5000, 1..5),
        ) {
            let data = noise(seed, len);
            for class in CLASSES {
                let cutter = Cutter::new(class, &small());
                let whole = lengths(&cutter, &data, start);
                prop_assert_eq!(whole.iter().sum::<usize>(), len);
                prop_assert!(whole.iter().all(|&len| (1..=cutter.max_chunk()).contains(&len)));
                prop_assert_eq!(lengths_buffered(&cutter, &data, start, &reads), whole);
            }
        }

        #[test]
        fn only_the_last_chunk_is_short(seed: u64, len in 0usize..20_000) {
            let lengths = lengths(&Cutter::new(Class::Structured, &small()), &noise(seed, len), 0);
            let (_, others) = lengths.split_last().unwrap_or((&0, &[]));
            prop_assert!(others.iter().all(|&len| len > 64));
        }

        #[test]
        fn cuts_are_the_documented_ones(seed: u64, len in 1usize..3000, spread in 1u8..=255) {
            let data: Vec<u8> = noise(seed, len).into_iter().map(|byte| byte % spread).collect();
            let params = small();
            for (class, cdc) in [(Class::Structured, params.structured), (Class::Opaque, params.opaque)] {
                let cut = Cutter::new(class, &params).next(&data, 0, true);
                prop_assert_eq!(cut, Some(documented(&data, &cdc)));
            }
        }

        #[test]
        fn what_follows_a_chunk_does_not_move_its_end(seed: u64, tail_seed: u64, len in 1usize..8000) {
            let cutter = Cutter::new(Class::Structured, &small());
            let data = noise(seed, len);
            let first = lengths(&cutter, &data, 0)[0];
            prop_assume!(first < len);
            let mut other = data[..first].to_vec();
            other.extend(noise(tail_seed, 3000));
            prop_assert_eq!(lengths(&cutter, &other, 0)[0], first);
        }

        #[test]
        fn an_insertion_resynchronises(seed: u64, at in 0usize..20_000, inserted in prop::collection::vec(any::<u8>(), 1..300)) {
            let cutter = Cutter::new(Class::Structured, &small());
            let data = noise(seed, 60_000);
            let mut changed = data.clone();
            changed.splice(at..at, inserted.iter().copied());
            let ends = |data: &[u8]| -> std::collections::BTreeSet<usize> {
                let mut at = 0;
                lengths(&cutter, data, 0).into_iter().map(|len| { at += len; data.len() - at }).collect()
            };
            // Counted from the end, everything behind the place and some chunks is cut as before.
            let behind = |ends: std::collections::BTreeSet<usize>| ends.into_iter().filter(|&end| end < 25_000).collect::<Vec<_>>();
            prop_assert_eq!(behind(ends(&data)), behind(ends(&changed)));
        }

        #[test]
        fn page_cuts_are_absolute(start in 0u64..1 << 50, len in 1usize..20_000) {
            let cutter = Cutter::new(Class::Pages { page: 512 }, &small());
            let mut at = start;
            let lengths = lengths(&cutter, &vec![1; len], start);
            for len in &lengths[..lengths.len() - 1] {
                at += *len as u64;
                prop_assert_eq!(at % 1024, 0);
            }
        }
    }
}
