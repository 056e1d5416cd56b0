//! Who the process is at the account when no key is set: the first of several sources that
//! gives a token, in a fixed order.

use std::sync::Arc;
use std::sync::OnceLock;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_identity::{
    ClientSecretCredential, DeveloperToolsCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
};

/// Sources by name, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct CredentialChain {
    sources: Vec<(&'static str, Arc<dyn TokenCredential>)>,
    /// The one that gave a token; it is asked alone from then on.
    chosen: OnceLock<usize>,
}

impl CredentialChain {
    /// A client's secret in the environment, workload identity, managed identity, and the sign-in
    /// of the Azure command-line tools. A source that is not set up here is left out.
    pub(super) fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let client = variable("AZURE_CLIENT_ID");
        let mut sources: Vec<(&'static str, Arc<dyn TokenCredential>)> = Vec::new();
        let secret = (variable("AZURE_TENANT_ID"), &client, variable("AZURE_CLIENT_SECRET"));
        if let (Some(tenant), Some(client), Some(secret)) = secret
            && let Ok(source) =
                ClientSecretCredential::new(&tenant, client.clone(), Secret::from(secret), None)
        {
            sources.push(("client secret", source));
        }
        if let Ok(source) = WorkloadIdentityCredential::new(None) {
            sources.push(("workload identity", source));
        }
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client.map(UserAssignedId::ClientId),
            ..Default::default()
        };
        if let Ok(source) = ManagedIdentityCredential::new(Some(options)) {
            sources.push(("managed identity", source));
        }
        if let Ok(source) = DeveloperToolsCredential::new(None) {
            sources.push(("command-line tools", source));
        }
        Self::of(sources)
    }

    fn of(sources: Vec<(&'static str, Arc<dyn TokenCredential>)>) -> Self {
        Self { sources, chosen: OnceLock::new() }
    }
}

#[async_trait]
impl TokenCredential for CredentialChain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some((_, source)) = self.chosen.get().and_then(|chosen| self.sources.get(*chosen)) {
            return source.get_token(scopes, options).await;
        }
        let mut refusals = Vec::new();
        for (index, (name, source)) in self.sources.iter().enumerate() {
            match source.get_token(scopes, options.clone()).await {
                Ok(token) => {
                    // Another call may have chosen meanwhile; either choice works.
                    let _ = self.chosen.set(index);
                    tracing::info!(source = name, "signed in at the account");
                    return Ok(token);
                }
                Err(error) => refusals.push(format!("{name}: {error}")),
            }
        }
        let message = format!("no source of credentials gave a token; {}", refusals.join("; "));
        Err(azure_core::Error::with_message(ErrorKind::Credential, message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use azure_core::time::OffsetDateTime;

    use super::*;

    #[derive(Debug)]
    struct Source {
        gives: Option<&'static str>,
        asked: AtomicU32,
    }

    impl Source {
        fn new(gives: Option<&'static str>) -> Arc<Self> {
            Arc::new(Self { gives, asked: AtomicU32::new(0) })
        }
    }

    #[async_trait]
    impl TokenCredential for Source {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let token = self.gives.map(|text| AccessToken::new(text, OffsetDateTime::UNIX_EPOCH));
            token.ok_or_else(|| azure_core::Error::with_message(ErrorKind::Credential, "not here"))
        }
    }

    #[tokio::test]
    async fn the_first_source_that_gives_a_token_is_kept() {
        let (dead, live, idle) = (Source::new(None), Source::new(Some("t")), Source::new(None));
        let chain = CredentialChain::of(vec![
            ("dead", dead.clone()),
            ("live", live.clone()),
            ("idle", idle.clone()),
        ]);
        for _ in 0..3 {
            assert_eq!(chain.get_token(&["s"], None).await.unwrap().token.secret(), "t");
        }
        let asked = [&dead, &live, &idle].map(|source| source.asked.load(Ordering::Relaxed));
        assert_eq!(asked, [1, 3, 0]);
    }

    #[tokio::test]
    async fn every_source_says_why_it_gave_none() {
        let chain = CredentialChain::of(vec![("a", Source::new(None)), ("b", Source::new(None))]);
        let problem = chain.get_token(&["s"], None).await.unwrap_err().to_string();
        assert!(problem.contains("a: not here; b: not here"), "{problem}");
    }
}
