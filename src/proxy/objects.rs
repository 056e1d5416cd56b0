//! Where objects live: one, or a page of them.

use std::sync::Arc;

use super::{Proxy, ProxyError};
use crate::documents::DocumentKey;
use crate::domain::{Head, InvalidValue, ObjectDocument, ObjectKey, ObjectName, StoreName};

/// An object as it stands now.
#[derive(Clone, Debug)]
pub struct ObjectView {
    pub document: Arc<ObjectDocument>,
    pub head: Head,
}

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct ListCommand {
    pub name: Option<ObjectName>,
    /// Only objects whose active stream lies in this store.
    pub store: Option<StoreName>,
    pub page_size: usize,
    /// As the page before gave it.
    pub page_token: Option<String>,
}

/// A page of documents in the order of their keys.
#[derive(Clone, Debug)]
pub struct ListedObjectsPage {
    pub objects: Vec<ObjectDocument>,
    pub next_page_token: Option<String>,
}

/// Documents that one page looks at, so that a filter that matches little ends in time.
const SCANNED_MAX: usize = 10_000;

impl Proxy {
    /// The object's document, freshly read, and its head.
    pub async fn object(&self, object: &ObjectKey) -> Result<ObjectView, ProxyError> {
        let document = self.reload(object).await?;
        let mut document =
            document.ok_or_else(|| ProxyError::ObjectNotFound { object: object.clone() })?;
        let head = self.head_of(&mut document).await?;
        Ok(ObjectView { document, head })
    }

    /// A page may be shorter than asked for, even empty, and still have a successor.
    pub async fn list_objects(
        &self,
        command: ListCommand,
    ) -> Result<ListedObjectsPage, ProxyError> {
        if let Some(store) = &command.store {
            self.stores.get(store)?;
        }
        let prefix =
            command.name.as_ref().map_or_else(DocumentKey::objects, DocumentKey::objects_named);
        let mut after = command.page_token.map(|token| page_token(&prefix, token)).transpose()?;
        let mut objects = Vec::new();
        let mut scanned = 0;
        while objects.len() < command.page_size && scanned < SCANNED_MAX {
            let wanted = command.page_size - objects.len();
            let page = self.documents.list(command.name.as_ref(), after.as_ref(), wanted).await?;
            scanned += page.objects.len();
            let matches = |document: &ObjectDocument| {
                command.store.as_ref().is_none_or(|store| document.active.address.store == *store)
            };
            let found = page.objects.into_iter().map(|stored| stored.document);
            objects.extend(found.filter(matches));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let next_page_token = after.map(|key| key.as_str().to_owned());
        Ok(ListedObjectsPage { objects, next_page_token })
    }
}

fn page_token(prefix: &DocumentKey, token: String) -> Result<DocumentKey, InvalidValue> {
    if token.starts_with(prefix.as_str()) {
        return Ok(DocumentKey::from_raw(token));
    }
    Err(InvalidValue::new("page_token", "must be one that a page of the same listing gave"))
}
