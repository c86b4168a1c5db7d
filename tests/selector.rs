//! What people type for a snapshot and a path: any text is an answer or a sentence, never a panic.

use icecore_engine::browse::{select, split_path};
use icecore_engine::entry::Timestamp;
use icecore_engine::{Catalogue, Error};
use proptest::prelude::*;

proptest! {
    /// Texts are made of the parts that have a meaning, so that most come near a selector.
    #[test]
    fn any_text_is_split(text in "([a-z]{1,3}|[0-9]{1,4}|[@:~\"/ .TZ+-]|é){0,12}") {
        let (snapshot, path) = split_path(text.as_bytes());
        let rest = text.as_bytes().strip_prefix(snapshot).expect("the selector stands in front");
        prop_assert!(rest.is_empty() || rest.starts_with(b":"));
        for part in path.split(|&byte| byte == b'/').filter(|_| !path.is_empty()) {
            prop_assert!(!part.is_empty() && part != b".");
        }
        if !text.contains(':') {
            prop_assert_eq!(snapshot, text.as_bytes());
        }
    }

    #[test]
    fn nothing_is_selected_from_nothing(text: String, seconds: Option<i64>) {
        let time = |_: &str| seconds.map(|seconds| Timestamp { seconds, nanos: 0 });
        let catalogue = Catalogue::default();
        let answer = select(&catalogue, &text, &time);
        prop_assert!(matches!(answer, Err(Error::NotFound(_))));
    }
}
