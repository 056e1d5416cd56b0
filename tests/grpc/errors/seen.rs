//! An error as a client holds it in its hands, by whichever way it came.

use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) details: ErrorDetails,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(super) enum Way {
    /// It ended a call, with these headers or trailers.
    Answer(MetadataMap),
    /// It is a field of a message of a call that goes on.
    Message,
}

impl Seen {
    /// What ended a call.
    #[track_caller]
    pub(super) fn ended<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> Self {
        Self::of(answer.map(Response::into_inner).unwrap_err())
    }

    pub(super) fn of(status: Status) -> Self {
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.get_error_details(),
            way: Way::Answer(status.metadata().clone()),
        }
    }

    /// What stands in a message, as the answer of a session or the error of a migration.
    pub(super) fn told(error: &tonic_types::Status) -> Self {
        let details = error.encode_to_vec().into();
        let status = Status::with_details(error.code.into(), error.message.clone(), details);
        Self { way: Way::Message, ..Self::of(status) }
    }
}
