//! The container's operations as this store uses them. Every answer's cost is counted.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

use azure_core::http::Etag;
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::diagnostics::DiagnosticsContext;
use azure_data_cosmos::error::CosmosError;
use azure_data_cosmos::feed::{FeedScope, QueryPageIterator};
use azure_data_cosmos::models::ResponseHeaders;
use azure_data_cosmos::options::{ItemWriteOptions, MaxItemCountHint, Precondition, QueryOptions};
use azure_data_cosmos::{Query, TransactionalBatch};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::error::{Failure, Refusal, doubts};
use crate::telemetry::calls::Operation;
use crate::telemetry::request_units::RequestUnits;

/// The status of the operations of a batch that were not tried because another was refused.
const FAILED_DEPENDENCY: u16 = 424;

/// The items of a container.
pub(super) struct Items {
    container: ContainerClient,
    units: Arc<RequestUnits>,
}

impl Items {
    pub(super) fn new(container: ContainerClient, units: Arc<RequestUnits>) -> Self {
        Self { container, units }
    }

    /// The item, if it is there.
    pub(super) async fn read(
        &self,
        operation: Operation,
        partition: &str,
        id: &str,
    ) -> Result<Option<Value>, Failure> {
        match self.container.read_item(partition.to_owned(), id, None).await {
            Ok(answer) => {
                self.units.charge(operation, &answer.diagnostics());
                answer.into_model().map(Some).map_err(Failure::of)
            }
            Err(error) => match self.fail(operation, error) {
                Failure { refusal: Refusal::NotFound, .. } => Ok(None),
                failure => Err(failure),
            },
        }
    }

    /// Answers the etag of the new item, if the service told it.
    pub(super) async fn create(
        &self,
        operation: Operation,
        partition: &str,
        id: &str,
        item: impl Serialize,
    ) -> Result<Option<String>, Failure> {
        let answer = self.container.create_item(partition.to_owned(), id, item, None).await;
        let answer = answer.map_err(|error| self.fail(operation, error))?;
        self.units.charge(operation, &answer.diagnostics());
        Ok(etag_of(answer.headers()))
    }

    /// Replaces the item in the state that the etag names. Answers the etag of the new state.
    pub(super) async fn replace(
        &self,
        operation: Operation,
        partition: &str,
        id: &str,
        item: impl Serialize,
        etag: &str,
    ) -> Result<Option<String>, Failure> {
        let options = Some(if_match(etag));
        let answer = self.container.replace_item(partition.to_owned(), id, item, options).await;
        let answer = answer.map_err(|error| self.fail(operation, error))?;
        self.units.charge(operation, &answer.diagnostics());
        Ok(etag_of(answer.headers()))
    }

    /// Deletes the item in the state that the etag names.
    pub(super) async fn delete(
        &self,
        operation: Operation,
        partition: &str,
        id: &str,
        etag: &str,
    ) -> Result<(), Failure> {
        let options = Some(if_match(etag));
        let answer = self.container.delete_item(partition.to_owned(), id, options).await;
        let answer = answer.map_err(|error| self.fail(operation, error))?;
        self.units.charge(operation, &answer.diagnostics());
        Ok(())
    }

    /// Does all of a batch or nothing. Answers the new etag of its first item, if it left one.
    ///
    /// A batch that was refused comes back as a success with a status for each operation.
    pub(super) async fn batch(
        &self,
        operation: Operation,
        batch: TransactionalBatch,
    ) -> Result<Option<String>, Failure> {
        let answer = self.container.execute_transactional_batch(batch, None).await;
        let answer = answer.map_err(|error| self.fail(operation, error))?;
        let told = answer.diagnostics();
        self.units.charge(operation, &told);
        let results = answer.into_model().map_err(Failure::of)?;
        let refused = results
            .results()
            .iter()
            .find(|result| !result.is_success() && result.status_code() != FAILED_DEPENDENCY);
        if let Some(refused) = refused {
            // The last request carried this answer; those before it may be another matter.
            let in_doubt = doubts(&told).rev().skip(1).any(|doubt| doubt);
            let failure = Failure::of_batch(refused.status_code(), refused.retry_after(), in_doubt);
            self.note(operation, &failure);
            return Err(failure);
        }
        let first = results.results().first().and_then(|first| first.etag());
        Ok(first.filter(|etag| !etag.is_empty()).map(str::to_owned))
    }

    /// What a query finds, in pages of at most `page_items`.
    pub(super) async fn query(
        &self,
        operation: Operation,
        query: Query,
        scope: FeedScope,
        page_items: usize,
    ) -> Result<Pages<'_>, Failure> {
        let most = u32::try_from(page_items).ok().and_then(NonZeroU32::new);
        let most = most.map_or(MaxItemCountHint::ServerDecides, MaxItemCountHint::Limit);
        let options = QueryOptions::default().with_max_item_count(most);
        let found = self.container.query_items::<Value>(query, scope, Some(options)).await;
        let found = found.map_err(|error| self.fail(operation, error))?;
        Ok(Pages { items: self, operation, pages: Box::pin(found.into_pages()) })
    }

    fn fail(&self, operation: Operation, error: CosmosError) -> Failure {
        if let Some(told) = error.diagnostics() {
            self.units.charge(operation, &told);
        }
        let failure = Failure::of(error);
        self.note(operation, &failure);
        failure
    }

    fn note(&self, operation: Operation, failure: &Failure) {
        if let Refusal::Throttled { .. } = failure.refusal {
            self.units.throttled(operation);
        }
    }
}

/// What a query found, page by page.
pub(super) struct Pages<'a> {
    items: &'a Items,
    operation: Operation,
    pages: Pin<Box<QueryPageIterator<Value>>>,
}

impl Pages<'_> {
    /// The next page, which may be empty; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>, Failure> {
        match self.pages.next().await {
            None => Ok(None),
            Some(Ok(page)) => {
                self.items.units.charge(self.operation, &page.diagnostics());
                Ok(Some(page.into_items()))
            }
            Some(Err(error)) => Err(self.items.fail(self.operation, error)),
        }
    }

    /// All that is left.
    pub(super) async fn all(mut self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

/// The client library tells what it did for a call, each try with its cost.
trait Charge {
    fn charge(&self, operation: Operation, told: &DiagnosticsContext);
}

impl Charge for RequestUnits {
    fn charge(&self, operation: Operation, told: &DiagnosticsContext) {
        self.charged(operation, told.total_request_charge().value());
    }
}

fn if_match(etag: &str) -> ItemWriteOptions {
    let precondition = Precondition::IfMatch(Etag::from(etag.to_owned()));
    ItemWriteOptions::default().with_precondition(precondition)
}

fn etag_of(headers: &ResponseHeaders) -> Option<String> {
    headers.etag().map(ToString::to_string).filter(|etag| !etag.is_empty())
}
