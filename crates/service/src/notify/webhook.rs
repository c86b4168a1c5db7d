//! The report as a document, to an address.

use std::time::Instant;

use icecore_http::Client;

use super::address::Address;
use super::retry::{retry, sleep};

/// Sends the document; a sentence if nobody took it.
pub(super) fn tell(address: &Address, client: &Client, document: &[u8], deadline: Instant) -> Vec<String> {
    let told = address.know().and_then(|known| {
        retry(deadline, sleep, |until| known.post(client, &known.url, "application/json", document, until))
    });
    told.err().map(|why| format!("the webhook was not told: {why}")).into_iter().collect()
}
