//! What a file is, told from a few of its bytes.

use std::sync::LazyLock;

use crate::entry::Class;

/// The bytes of a sample that are looked at.
const SAMPLE: usize = 2048;
/// A longer sample is looked at in evenly spaced stretches of this many bytes.
const STRETCH: usize = 128;
/// A shorter sample tells too little.
const MIN_SAMPLE: usize = 512;
/// Bits a byte from which on compression is not tried: a coder of single bytes would save less than
/// 1/32, which is also the least for which a frame is kept compressed.
const INCOMPRESSIBLE: f32 = 8.0 - 8.0 / 32.0;
/// `n · log2 n` for every count that a sample can give.
static WEIGHTS: LazyLock<[f32; SAMPLE + 1]> =
    LazyLock::new(|| std::array::from_fn(|n| if n == 0 { 0.0 } else { n as f32 * (n as f32).log2() }));

/// Tells how a file should be cut. `head` are its first bytes (up to 4 KiB are looked at), `probe` bytes
/// from inside it, possibly several samples joined; empty if the file is hardly longer than its head.
pub fn detect(head: &[u8], probe: &[u8]) -> Class {
    match firebird_page(head).or_else(|| sqlite_page(head)) {
        Some(page) => Class::Pages { page },
        None if looks_incompressible(if probe.is_empty() { head } else { probe }) => Class::Opaque,
        None => Class::Structured,
    }
}

/// Reads the page size from a Firebird header page: page type 1 in byte 0, page size in bytes 16..18,
/// on-disk structure in bytes 18..20 with Firebird's flag 0x8000, all little-endian. From `src/jrd/ods.h`
/// of Firebird; the same since on-disk structure 11 (Firebird 2). Before, the flag was not there.
fn firebird_page(head: &[u8]) -> Option<u32> {
    const HEADER_PAGE: u8 = 1;
    const FLAG: u16 = 0x8000;
    let size = u16::from_le_bytes(*head.get(16..)?.first_chunk()?);
    let structure = u16::from_le_bytes(*head.get(18..)?.first_chunk()?);
    let is_firebird = head[0] == HEADER_PAGE && structure & FLAG != 0 && (11..64).contains(&(structure & !FLAG));
    (is_firebird && size.is_power_of_two() && (1 << 10..=1 << 15).contains(&size)).then_some(size.into())
}

/// Reads the page size from an SQLite database header: 16 bytes of magic, then the size, big-endian, where
/// 1 stands for 65536. From "Database File Format", section 1.3.
fn sqlite_page(head: &[u8]) -> Option<u32> {
    let rest = head.strip_prefix(b"SQLite format 3\0")?;
    match u16::from_be_bytes(*rest.first_chunk()?) {
        1 => Some(1 << 16),
        size if size.is_power_of_two() && size >= 512 => Some(size.into()),
        _ => None,
    }
}

/// Tells whether bytes look compressed or encrypted, from how evenly at most 2 KiB of them are
/// distributed. Costs two or three microseconds. Fewer than 512 bytes never do.
pub fn looks_incompressible(sample: &[u8]) -> bool {
    if sample.len() < MIN_SAMPLE {
        return false;
    }
    // Four histograms, because counting the same byte twice in a row in one would wait for memory.
    let mut counts = [[0u16; 256]; 4];
    let mut count = |bytes: &[u8]| {
        let (quads, rest) = bytes.as_chunks::<4>();
        for quad in quads {
            for (histogram, &byte) in counts.iter_mut().zip(quad) {
                histogram[usize::from(byte)] += 1;
            }
        }
        rest.iter().for_each(|&byte| counts[0][usize::from(byte)] += 1);
    };
    if sample.len() <= SAMPLE {
        count(sample);
    } else {
        let stretches = SAMPLE / STRETCH;
        let last = sample.len() - STRETCH;
        (0..stretches).for_each(|n| count(&sample[last / (stretches - 1) * n..][..STRETCH]));
    }
    let total = sample.len().min(SAMPLE) as f32;
    let [a, b, c, d] = counts;
    let weighted: f32 = (0..256).map(|byte| WEIGHTS[usize::from(a[byte] + b[byte] + c[byte] + d[byte])]).sum();
    // A sample of random bytes has less entropy than its source: by (values - 1) / (2 ln 2 · bytes) bits
    // on average (Miller and Madow, 1955).
    let bias = 255.0 / (2.0 * std::f32::consts::LN_2 * total);
    total.log2() - weighted / total + bias >= INCOMPRESSIBLE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        let mut bytes = vec![0; len];
        reader.fill(&mut bytes);
        bytes
    }

    /// The first bytes of a database of Firebird 3 (on-disk structure 12) with pages of 8 KiB.
    fn firebird() -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[..24].copy_from_slice(&[1, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x0c, 0x80, 3, 0, 0, 0]);
        head
    }

    fn sqlite(size: u16) -> Vec<u8> {
        let mut head = b"SQLite format 3\0".to_vec();
        head.extend(size.to_be_bytes());
        head.extend([1, 1, 0, 64, 32, 32]);
        head
    }

    #[test]
    fn databases_are_recognised() {
        assert_eq!(detect(&firebird(), &noise(1, 4096)), Class::Pages { page: 8192 });
        let mut older = firebird();
        older[16..20].copy_from_slice(&[0, 0x04, 0x0b, 0x80]);
        assert_eq!(detect(&older, b""), Class::Pages { page: 1024 });
        assert_eq!(detect(&sqlite(4096), b""), Class::Pages { page: 4096 });
        assert_eq!(detect(&sqlite(1), b""), Class::Pages { page: 65536 });
        assert_eq!(detect(&sqlite(32768), b""), Class::Pages { page: 32768 });
    }

    #[test]
    fn what_only_resembles_a_database_is_not_one() {
        for (at, byte) in [(0, 2), (16, 1), (17, 0), (17, 0x60), (17, 2), (19, 0), (18, 3), (18, 200)] {
            let mut head = firebird();
            head[at] = byte;
            assert_eq!(detect(&head, b""), Class::Structured, "byte {at} = {byte}");
        }
        for size in [0, 2, 256, 4097, 65535] {
            assert_eq!(detect(&sqlite(size), b""), Class::Structured, "{size}");
        }
        for len in 0..20 {
            assert_eq!(detect(&firebird()[..len], b""), Class::Structured);
            assert_eq!(detect(&sqlite(4096)[..len.min(17)], b""), Class::Structured);
        }
    }

    #[test]
    fn the_probe_outranks_the_head() {
        assert_eq!(detect(&noise(1, 4096), b""), Class::Opaque);
        assert_eq!(detect(b"PK\x03\x04", &noise(1, 4096)), Class::Opaque);
        assert_eq!(detect(&noise(1, 4096), &[b'a'; 4096]), Class::Structured);
        assert_eq!(detect(b"", b""), Class::Structured);
    }

    #[test]
    fn text_tables_and_base64_are_compressible() {
        let base64: Vec<u8> = noise(2, 8192)
            .iter()
            .map(|b| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[usize::from(b % 64)])
            .collect();
        let table: Vec<u8> = (0..2000u32).flat_map(u32::to_le_bytes).collect();
        let half: Vec<u8> = noise(3, 2048).into_iter().flat_map(|byte| [byte, 0]).collect();
        for sample in [base64, table, half, b"The quick brown fox. ".repeat(100), vec![0; 1 << 20]] {
            assert!(!looks_incompressible(&sample));
            assert!(!looks_incompressible(&sample[..600]));
        }
        // 32 of the 256 values never occur, 32 are twice as frequent: 7.75 bits, the threshold itself.
        let fold = |low: u8| move |byte: u8| if byte < low { byte + low } else { byte };
        assert!(!looks_incompressible(&noise(4, 4096).into_iter().map(fold(40)).collect::<Vec<_>>()));
        assert!(looks_incompressible(&noise(4, 4096).into_iter().map(fold(24)).collect::<Vec<_>>()));
    }

    #[test]
    fn a_long_sample_is_looked_at_in_many_places() {
        let mut sample = noise(6, 1 << 20);
        assert!(looks_incompressible(&sample));
        sample[100_000..400_000].fill(b' ');
        assert!(!looks_incompressible(&sample));
    }

    proptest! {
        #[test]
        fn random_bytes_look_incompressible(seed: u64, len in MIN_SAMPLE..20_000) {
            prop_assert!(looks_incompressible(&noise(seed, len)));
            prop_assert!(!looks_incompressible(&noise(seed, len % MIN_SAMPLE)));
        }

        #[test]
        fn no_head_panics(head in prop::collection::vec(any::<u8>(), 0..40), probe in prop::collection::vec(any::<u8>(), 0..5000)) {
            detect(&head, &probe);
        }
    }
}
