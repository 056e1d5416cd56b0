//! Keys from the settings, looked up for each request, so that they can be renewed meanwhile.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::S3Options;
use crate::runtime::{Secret, SecretMissing};

/// Secrets by where they lie.
#[derive(Debug)]
pub(super) struct Keys {
    id: Secret,
    secret: Secret,
    token: Option<Secret>,
}

impl Keys {
    /// None when the settings name no keys: then the usual chain of AWS finds credentials.
    pub(super) fn of(options: &S3Options) -> Option<Self> {
        let id = options.access_key_id.clone()?;
        let secret = options.secret_access_key.clone()?;
        Some(Self { id, secret, token: options.session_token.clone() })
    }

    pub(super) fn reveal(&self) -> Result<AwsCredential, SecretMissing> {
        Ok(AwsCredential {
            key_id: self.id.reveal()?,
            secret_key: self.secret.reveal()?,
            token: self.token.as_ref().map(Secret::reveal).transpose()?,
        })
    }
}

#[async_trait]
impl CredentialProvider for Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        match self.reveal() {
            Ok(credential) => Ok(Arc::new(credential)),
            Err(missing) => {
                let source = Box::new(super::error::NoCredentials(missing));
                Err(object_store::Error::Generic { store: "S3", source })
            }
        }
    }
}
