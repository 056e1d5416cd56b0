//! What is asked of the service: a migration, and which of them to list.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{MigrationOptions, Phase};
use crate::domain::close_event::MigrationKind;
use crate::domain::limits::{check_metadata, check_text};
use crate::domain::{
    InvalidValue, MigrationId, ObjectKey, StoreName, StreamAddress, StreamId, StreamRef, Version,
};

/// A migration as an operator asks for it. Equal request ids are one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationRequest {
    pub request_id: String,
    pub object: ObjectKey,
    pub kind: MigrationKind,
    pub target_store: StoreName,
    /// None: the object document hands out the next id.
    pub target_stream_id: Option<StreamId>,
    /// None: the whole history for a copy, and nothing for a continuation without copy.
    pub target_base: Option<TargetBase>,
    pub expected_source: Option<ExpectedSource>,
    pub options: MigrationOptions,
    pub labels: BTreeMap<String, String>,
    pub validate_only: bool,
}

/// Where a copy begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetBase {
    /// At version 0, also where older versions lie in streams before the source.
    #[default]
    History,
    /// At the source's own first version; what lies before it stays where it is.
    Source,
}

/// Where the object must live for the migration to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedSource {
    pub store: StoreName,
    pub stream_id: Option<StreamId>,
}

impl ExpectedSource {
    pub fn is_met_by(&self, active: &StreamRef) -> bool {
        let StreamAddress { store, stream_id } = &active.address;
        *store == self.store && self.stream_id.as_ref().is_none_or(|wanted| wanted == stream_id)
    }
}

/// Which migrations to list.
#[derive(Clone, Debug, Default)]
pub struct ListMigrations {
    /// Empty means all.
    pub phases: Vec<Phase>,
    pub page_size: usize,
    pub page_token: Option<String>,
}

impl MigrationRequest {
    /// The id that follows from the request id: a UUID (version 8) of its SHA-256.
    pub fn migration_id(&self) -> MigrationId {
        let mut hasher = Sha256::new();
        hasher.update(b"streamgate/migration/");
        hasher.update(self.request_id.as_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        let bytes = hash[..16].try_into().expect("a hash has 32 bytes");
        MigrationId(Uuid::new_v8(bytes))
    }

    /// The first version that is copied from a source; none for a continuation without copy.
    pub fn base_over(&self, source: &StreamRef) -> Option<Version> {
        match (self.kind, self.target_base.unwrap_or_default()) {
            (MigrationKind::Continue, _) => None,
            (MigrationKind::Copy, TargetBase::History) => Some(Version::FIRST),
            (MigrationKind::Copy, TargetBase::Source) => Some(source.base),
        }
    }

    pub fn check(&self) -> Result<(), InvalidValue> {
        if self.kind == MigrationKind::Continue && self.target_base.is_some() {
            let problem = "is for copies; a continuation begins behind the source's head";
            return Err(InvalidValue::new("target_base", problem));
        }
        check_text("request_id", &self.request_id, false)?;
        if self.request_id.len() > 128 {
            let problem = format!("has {} bytes, the limit is 128", self.request_id.len());
            return Err(InvalidValue::new("request_id", problem));
        }
        self.options.check().map_err(|invalid| invalid.within("options"))?;
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        check_metadata("labels", labels)
    }
}
