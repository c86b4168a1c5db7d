//! Content that is the same in every demonstration.

use std::fmt::Write;

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough to be incompressible.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Bytes that do not compress, as in an encrypted or compressed container.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }

    /// About `len` bytes of words.
    pub fn text(&mut self, len: usize) -> String {
        const WORDS: [&str; 24] = [
            "ice", "core", "layer", "snow", "year", "deep", "glacier", "archive", "meeting", "invoice", "drill",
            "camp", "report", "attached", "please", "find", "the", "of", "and", "with", "winter", "north", "record",
            "season",
        ];
        let mut text = String::with_capacity(len + 16);
        while text.len() < len {
            text.push_str(WORDS[self.below(WORDS.len())]);
            text.push(if self.below(12) == 0 { '\n' } else { ' ' });
        }
        text
    }

    /// A message with its head.
    pub fn mail(&mut self, number: usize, attachment: &[u8]) -> Vec<u8> {
        let mut head = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            head,
            "From: ann{}@example.org\r\nTo: bob@example.org\r\nSubject: {}\r\nMessage-ID: <{number}@example.org>\r\n\r\n",
            self.below(40),
            self.text(30).trim()
        );
        let len = 500 + self.below(6_000);
        [head.as_bytes(), self.text(len).as_bytes(), attachment].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same() {
        assert_eq!(Random::new(1).bytes(100), Random::new(1).bytes(100));
        assert_ne!(Random::new(1).bytes(100), Random::new(2).bytes(100));
        assert_eq!(Random::new(1).bytes(13).len(), 13);
        assert!(Random::new(3).text(1000).len() >= 1000);
        assert_eq!(Random::new(1).below(0), 0);
    }
}
