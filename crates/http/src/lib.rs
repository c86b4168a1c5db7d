//! One HTTP request and its bounded reply, over TLS or not, until an instant.
//!
//! | module | what it holds |
//! |---|---|
//! | [`exchange`](mod@exchange) | a request and its reply over a connection that stands; a connection that ends at an instant |
//! | [`connect()`] | the first of some addresses that answers |
//! | [`url`] | where a request goes |
//! | [`client`] | a whole `POST`: look up, connect, TLS, request, reply |
//!
//! Redirects are not followed: what a request says is for the address that was configured. Proxies are not used, whatever the
//! environment names.

pub mod client;
pub mod connect;
pub mod exchange;
pub mod url;

pub use client::{Client, PostError, Trust, TrustError};
pub use connect::{ConnectError, connect};
pub use url::{Url, UrlError};
