//! The methods of the interface as a closed list, for labels and spans.

/// A method of `streamgate.v1`, or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Append,
    AppendSession,
    Read,
    GetObject,
    ListObjects,
    GetCapabilities,
    Migrate,
    GetMigration,
    ListMigrations,
    WatchMigration,
    PauseMigration,
    ResumeMigration,
    CancelMigration,
    /// Health, reflection, and what nobody serves.
    Other,
}

impl Method {
    pub(crate) const ALL: [Self; 14] = [
        Self::Append,
        Self::AppendSession,
        Self::Read,
        Self::GetObject,
        Self::ListObjects,
        Self::GetCapabilities,
        Self::Migrate,
        Self::GetMigration,
        Self::ListMigrations,
        Self::WatchMigration,
        Self::PauseMigration,
        Self::ResumeMigration,
        Self::CancelMigration,
        Self::Other,
    ];

    /// The method that a request's path names.
    pub(crate) fn of(path: &str) -> Self {
        let Some(name) = path
            .strip_prefix("/streamgate.v1.EventStoreService/")
            .or_else(|| path.strip_prefix("/streamgate.v1.MigrationService/"))
        else {
            return Self::Other;
        };
        Self::ALL.into_iter().find(|method| method.label() == name).unwrap_or(Self::Other)
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Append => "Append",
            Self::AppendSession => "AppendSession",
            Self::Read => "Read",
            Self::GetObject => "GetObject",
            Self::ListObjects => "ListObjects",
            Self::GetCapabilities => "GetCapabilities",
            Self::Migrate => "Migrate",
            Self::GetMigration => "GetMigration",
            Self::ListMigrations => "ListMigrations",
            Self::WatchMigration => "WatchMigration",
            Self::PauseMigration => "PauseMigration",
            Self::ResumeMigration => "ResumeMigration",
            Self::CancelMigration => "CancelMigration",
            Self::Other => "other",
        }
    }

    /// Whether it is counted, measured and bounded here.
    pub(crate) const fn is_ours(self) -> bool {
        !matches!(self, Self::Other)
    }

    /// Whether the request is more than one message.
    pub(crate) const fn takes_many(self) -> bool {
        matches!(self, Self::AppendSession | Self::Other)
    }

    /// Whether the answer is more than one message, so that it ends later than it begins.
    pub(crate) const fn streams(self) -> bool {
        matches!(self, Self::AppendSession | Self::Read | Self::WatchMigration | Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_descriptors_is_in_the_list() {
        use prost::Message;
        let set = prost_types::FileDescriptorSet::decode(crate::grpc::DESCRIPTORS).unwrap();
        let mut found = 0;
        for file in set.file.iter().filter(|file| file.package() == "streamgate.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/streamgate.v1.{}/{}", service.name(), method.name());
                    let known = Method::of(&path);
                    assert_eq!(known.label(), method.name());
                    assert_eq!(known.streams(), method.server_streaming(), "{path}");
                    assert_eq!(known.takes_many(), method.client_streaming(), "{path}");
                    found += 1;
                }
            }
        }
        assert_eq!(found + 1, Method::ALL.len());
    }
}
