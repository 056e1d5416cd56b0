//! The port DocumentStore: small records changed by compare-and-set, and the object documents
//! over it.
//!
//! Reading order: [`contract`] (the trait and its promises), [`key`], [`error`], [`objects`]
//! (typed object documents), [`routes`] (the bounded cache of routes), then the wrappers
//! [`timeout`], [`retry`], [`observe`], put together by [`stack()`].

pub mod contract;
pub mod error;
pub mod key;
pub mod objects;
pub mod observe;
pub mod retry;
pub mod routes;
pub mod stack;
pub mod timeout;

pub use contract::{Document, DocumentStore, Etag, ListedDocuments, Precondition};
pub use error::DocumentError;
pub use key::DocumentKey;
pub use objects::{ListedObjects, ObjectDocuments, StoredObject};
pub use routes::Routes;
pub use stack::stack;
