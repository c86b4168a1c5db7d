//! Bytes to put into files: the same for the same seed.

use std::fs;
use std::path::Path;

/// Bytes that no compression makes smaller.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    while bytes.len() < len {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Bytes that compress well.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["ice ", "core ", "layer ", "frozen ", "year ", "depth ", "dust ", "snow\n"];
    let letters = noise(seed, len / 4 + 1);
    let mut bytes: Vec<u8> = letters.iter().flat_map(|letter| WORDS[usize::from(letter % 8)].bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// Writes a file, with the directories above it.
#[track_caller]
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
