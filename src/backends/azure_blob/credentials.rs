//! Who the store is to the service: a key that signs every request, a signature in every address,
//! or the identity of the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{
    AccessToken, Secret as KeyText, TokenCredential, TokenRequestOptions,
};
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use azure_core::{Error, error::ErrorKind};
use azure_identity::{
    ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
};

use super::options::AzureBlobOptions;
use crate::runtime::{Clock, Secret, SecretMissing};

/// How long a secret is used before it is looked up again, so that it can be renewed.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(10);

/// What a client of the service is made with.
#[derive(Default)]
pub(super) struct Access {
    /// Runs on every request.
    pub(super) policy: Option<Arc<dyn Policy>>,
    pub(super) identity: Option<Arc<dyn TokenCredential>>,
}

impl Access {
    pub(super) fn new(
        options: &AzureBlobOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AccessMissing> {
        if let Some(key) = &options.account_key {
            let account = options.account_name().unwrap_or_default();
            let key = LookedUp::new(key.clone(), Arc::clone(clock))?;
            let policy = SharedKey { account, key, clock: Arc::clone(clock) };
            return Ok(Self { policy: Some(Arc::new(policy)), identity: None });
        }
        if let Some(token) = &options.sas_token {
            let token = LookedUp::new(token.clone(), Arc::clone(clock))?;
            return Ok(Self { policy: Some(Arc::new(SignedAddress { token })), identity: None });
        }
        Ok(Self { policy: None, identity: Some(identity(options)?) })
    }
}

/// There is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum AccessMissing {
    #[error(transparent)]
    Secret(#[from] SecretMissing),
    #[error("the identity of the environment cannot be used")]
    Identity(#[source] Error),
}

/// Identities in the order in which they are tried: what the environment names, then that of the
/// machine, then the developer's.
fn identity(options: &AzureBlobOptions) -> Result<Arc<dyn TokenCredential>, AccessMissing> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let failed = AccessMissing::Identity;
    let mut sources: Vec<Arc<dyn TokenCredential>> = Vec::new();
    if set("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        sources.push(WorkloadIdentityCredential::new(None).map_err(failed)?);
    }
    if let (Some(tenant), Some(client), Some(secret)) =
        (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"), set("AZURE_CLIENT_SECRET"))
    {
        let secret = KeyText::new(secret);
        sources.push(ClientSecretCredential::new(&tenant, client, secret, None).map_err(failed)?);
    }
    let user_assigned_id = options.client_id.clone().map(UserAssignedId::ClientId);
    let managed = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
    sources.push(ManagedIdentityCredential::new(Some(managed)).map_err(failed)?);
    sources.push(DeveloperToolsCredential::new(None).map_err(failed)?);
    Ok(Arc::new(Chain { sources, chosen: OnceLock::new() }))
}

/// The first identity that gets a token is kept.
#[derive(Debug)]
struct Chain {
    sources: Vec<Arc<dyn TokenCredential>>,
    chosen: OnceLock<usize>,
}

#[async_trait]
impl TokenCredential for Chain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(chosen) = self.chosen.get() {
            return self.sources[*chosen].get_token(scopes, options).await;
        }
        let mut problems = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            match source.get_token(scopes, options.clone()).await {
                Ok(token) => {
                    let _ = self.chosen.set(index);
                    return Ok(token);
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        let problem = format!("no identity got a token: {}", problems.join("; "));
        Err(Error::with_message(ErrorKind::Credential, problem))
    }
}

/// A secret that is read again now and then.
struct LookedUp {
    secret: Secret,
    clock: Arc<dyn Clock>,
    last: Mutex<(Duration, String)>,
}

impl LookedUp {
    fn new(secret: Secret, clock: Arc<dyn Clock>) -> Result<Self, SecretMissing> {
        let text = secret.reveal()?;
        let last = Mutex::new((clock.monotonic(), text));
        Ok(Self { secret, clock, last })
    }

    /// The newest text that was found; a file that is away for a moment does no harm.
    fn text(&self) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if now.saturating_sub(last.0) >= LOOKED_UP_EVERY {
            let found = self.secret.reveal().unwrap_or_else(|_| last.1.clone());
            *last = (now, found);
        }
        last.1.clone()
    }
}

/// Puts a shared access signature into the address of every request.
struct SignedAddress {
    token: LookedUp,
}

impl fmt::Debug for SignedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedAddress")
    }
}

#[expect(elided_lifetimes_in_paths, reason = "async_trait matches the trait's own form alone")]
#[async_trait]
impl Policy for SignedAddress {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let token = self.token.text();
        let token = token.trim_start_matches('?');
        let mut address = request.url().clone();
        let query = match address.query() {
            Some(query) if !query.is_empty() => format!("{query}&{token}"),
            Some(_) | None => token.to_owned(),
        };
        address.set_query(Some(&query));
        *request.url_mut() = address;
        next[0].send(context, request, &next[1..]).await
    }
}

/// Signs every request with an account's key, as the service's "Authorize with Shared Key"
/// describes it.
struct SharedKey {
    account: String,
    key: LookedUp,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

#[expect(elided_lifetimes_in_paths, reason = "async_trait matches the trait's own form alone")]
#[async_trait]
impl Policy for SharedKey {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.insert_header("x-ms-date", http_date(&*self.clock));
        let bytes = azure_core::Bytes::from(request.body()).len();
        let named = HeaderName::from_static("content-length");
        if bytes > 0 && request.headers().get_optional_str(&named).is_none() {
            request.insert_header("content-length", bytes.to_string());
        }
        let key = KeyText::new(self.key.text());
        let signature = azure_core::hmac::hmac_sha256(&self.text_to_sign(request), &key)
            .map_err(|_| Error::with_message(ErrorKind::Credential, "the key is not base64"))?;
        let value = format!("SharedKey {}:{signature}", self.account);
        request.insert_header("authorization", value);
        next[0].send(context, request, &next[1..]).await
    }
}

/// Headers whose values are signed, in this order; the date stands in `x-ms-date`.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

impl SharedKey {
    fn text_to_sign(&self, request: &Request) -> String {
        let header = |name: &'static str| {
            let value = request.headers().get_optional_str(&HeaderName::from_static(name));
            value.filter(|value| name != "content-length" || *value != "0").unwrap_or("")
        };
        let mut text = request.method().as_ref().to_owned();
        for name in SIGNED_HEADERS {
            text.push('\n');
            text.push_str(if name.is_empty() { "" } else { header(name) });
        }
        let own = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-ms-"));
        let own: BTreeMap<&str, &str> =
            own.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (name, value) in own {
            text.push_str(&format!("\n{name}:{value}"));
        }
        text.push_str(&format!("\n/{}{}", self.account, request.url().path()));
        let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.url().query_pairs() {
            query.entry(name.to_lowercase()).or_default().push(value.into_owned());
        }
        for (name, mut values) in query {
            values.sort();
            text.push_str(&format!("\n{name}:{}", values.join(",")));
        }
        text
    }
}

/// The clock's time as HTTP writes it.
fn http_date(clock: &dyn Clock) -> String {
    let (seconds, _) = clock.now().parts();
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
