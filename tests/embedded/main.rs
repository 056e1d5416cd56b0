//! The embedded store beyond the contract: what is there after reopening, what damage it notices,
//! and how writes share their syncs. The contract itself is the conformance suite's.

#![cfg(feature = "embedded")]
#![expect(clippy::disallowed_methods, reason = "the tests spawn tasks of their own")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod commits;
mod damage;
mod kit;
mod reopening;
