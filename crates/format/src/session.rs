//! Who writes to the repository at this moment, for others who want to know. Nothing's safety rests on it.
//!
//! One CBOR map with integer keys, sealed as an object of its own. Objects never change: a session that lives on puts a further
//! record and removes the one before.

use minicbor::{Decode, Encode};

use crate::entry::Timestamp;
use crate::pack::decode_whole;

/// Bytes of the longest name in a record.
const MAX_NAME_LEN: usize = 255;

/// The record of a running session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SessionRecord {
    /// Where it runs.
    #[n(0)]
    pub host: String,
    /// The process there.
    #[n(1)]
    pub pid: u32,
    /// When it began.
    #[n(2)]
    pub started: Timestamp,
    /// When it was last known to live.
    #[n(3)]
    pub seen: Timestamp,
    /// The instance that it backs up, or what else it does.
    #[n(4)]
    pub instance: String,
}

/// A session record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionRecordError {
    /// The bytes do not have the form of a record.
    #[error("a session record cannot be decoded")]
    Decode(#[from] minicbor::decode::Error),
    /// What it says cannot be true.
    #[error("a session record contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl SessionRecord {
    /// Gives the plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// Reads plain bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, SessionRecordError> {
        let record: Self = decode_whole(bytes)?;
        if record.started.nanos >= 1_000_000_000 || record.seen.nanos >= 1_000_000_000 {
            return Err(SessionRecordError::Inconsistent("a time is no time"));
        }
        if record.host.len() > MAX_NAME_LEN || record.instance.len() > MAX_NAME_LEN {
            return Err(SessionRecordError::Inconsistent("a name is longer than 255 bytes"));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> SessionRecord {
        SessionRecord {
            host: "h".into(),
            pid: 4711,
            started: Timestamp { seconds: 1_700_000_000, nanos: 5 },
            seen: Timestamp { seconds: 1_700_003_600, nanos: 0 },
            instance: "cust01".into(),
        }
    }

    #[test]
    fn golden_session_record() {
        let hex: String = record().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a500616801191267 02821a6553f10005 03821a6553ff1000 0466637573743031".replace(' ', ""));
        assert_eq!(SessionRecord::decode(&record().encode()).unwrap(), record());
    }

    #[test]
    fn contradictions_are_refused() {
        let late = Timestamp { seconds: 0, nanos: 1_000_000_000 };
        for wrong in [
            SessionRecord { started: late, ..record() },
            SessionRecord { seen: late, ..record() },
            SessionRecord { host: "h".repeat(256), ..record() },
            SessionRecord { instance: "i".repeat(256), ..record() },
        ] {
            assert!(matches!(SessionRecord::decode(&wrong.encode()), Err(SessionRecordError::Inconsistent(_))));
        }
        let longer = [&record().encode()[..], &[0]].concat();
        assert!(matches!(SessionRecord::decode(&longer), Err(SessionRecordError::Decode(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, byte: u8) {
            let _ = SessionRecord::decode(&bytes);
            let mut changed = record().encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = SessionRecord::decode(&changed);
            prop_assert!(SessionRecord::decode(&changed[..at]).is_err());
        }
    }
}
