use std::fmt;

use zeroize::Zeroizing;

use crate::seal::Entropy;

const PREFIX: &str = "icecore-";
/// Base32 digits of 256 bits: 51 of five bits and one of the last bit.
const DIGITS: usize = 52;
/// RFC 4648, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a person types or a password file holds.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are, but for one line end (`\n` or `\r\n`) behind them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes = Zeroizing::new(bytes.into());
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self(bytes)
    }

    /// Makes a secret of 256 random bits: `icecore-` and 52 base32 digits.
    pub fn generate(entropy: Entropy) -> Self {
        let byte = |index: usize| entropy.0.get(index).copied().unwrap_or(0);
        let digit = |n: usize| {
            let bit = n * 5;
            let pair = u16::from_be_bytes([byte(bit / 8), byte(bit / 8 + 1)]);
            ALPHABET[usize::from(pair >> (11 - bit % 8)) & 31]
        };
        let mut text = Zeroizing::new(Vec::with_capacity(PREFIX.len() + DIGITS));
        text.extend_from_slice(PREFIX.as_bytes());
        text.extend((0..DIGITS).map(digit));
        Self(text)
    }

    /// Tells whether the secret has the form that [`generate`](Self::generate) gives, and so needs
    /// no slow key derivation.
    pub fn is_generated(&self) -> bool {
        let Some(digits) = self.0.strip_prefix(PREFIX.as_bytes()) else { return false };
        // The last digit holds one bit: its value is 0 or 16.
        digits.len() == DIGITS
            && digits.iter().all(|digit| ALPHABET.contains(digit))
            && [ALPHABET[0], ALPHABET[16]].contains(&digits[DIGITS - 1])
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn generated_secrets_are_golden() {
        let secret = Secret::generate(Entropy(std::array::from_fn(|i| i as u8)));
        assert_eq!(secret.expose(), b"icecore-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
        assert_eq!(Secret::generate(Entropy([255; 32])).expose(), format!("icecore-{}q", "7".repeat(51)).as_bytes());
    }

    #[test]
    fn one_line_end_is_dropped() {
        for (typed, secret) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), (" a ", " a "), ("", ""), ("\n", "")]
        {
            assert_eq!(Secret::new(typed).expose(), secret.as_bytes());
        }
    }

    #[test]
    fn what_a_person_chose_is_not_taken_for_generated() {
        for typed in ["", "icecore-", "icecore-password", &"a".repeat(60), &format!("icecore-{}b", "a".repeat(51))] {
            assert!(!Secret::new(typed).is_generated(), "{typed}");
        }
        assert_eq!(format!("{:?}", Secret::new("password")), "Secret { .. }");
    }

    proptest! {
        #[test]
        fn generated_secrets_are_told_and_differ(bytes: [u8; 32], bit in 0..256usize) {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            let (secret, other) = (Secret::generate(Entropy(bytes)), Secret::generate(Entropy(other)));
            prop_assert!(secret.is_generated());
            prop_assert!(Secret::new([secret.expose(), b"\n"].concat()).is_generated());
            prop_assert_ne!(secret.expose(), other.expose());
        }
    }
}
