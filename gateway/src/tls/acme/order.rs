//! One order: account, authorizations, the challenge that proves a name, and the certificate.

use std::path::Path;

use anyhow::{Context as _, bail};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use roomwire_certs::{Challenges, Proof, make_key, read_private, write_private};

use super::challenge_type;
use super::http::Client;
use crate::config::{AcmeConfig, Challenge};

/// Holds the account's key and its address.
const ACCOUNT_FILE: &str = "account.json";

/// How long an authority may take to look at a challenge, or to issue. Chosen: Let's Encrypt takes
/// seconds; a busy one says how long by `Retry-After`, which is honoured within this.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);

fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(PATIENCE)
}

/// The account there is, or a new one.
pub(super) async fn account(config: &AcmeConfig, directory: &Path) -> anyhow::Result<Account> {
    let client = Client::new(config.ca.as_deref())?;
    let builder = Account::builder_with_http(Box::new(client));
    let file = directory.join(ACCOUNT_FILE);
    if let Some(stored) = read_private(&file)? {
        let credentials: AccountCredentials = serde_json::from_slice(&stored)
            .with_context(|| format!("{} is damaged: remove it", file.display()))?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact: Vec<String> = config
        .contact
        .iter()
        .map(|address| format!("mailto:{address}"))
        .collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: config.agree_to_terms,
        only_return_existing: false,
    };
    let made = builder
        .create(&wanted, config.directory.clone(), None)
        .await;
    let (account, credentials) = made.context("no account with the authority")?;
    write_private(&file, &serde_json::to_vec(&credentials)?)?;
    Ok(account)
}

/// Removes the stored account where the authority says that it does not know it (RFC 8555 §6.7), so
/// that the next order begins with a new one.
pub(super) fn forget_unknown(error: &anyhow::Error, directory: &Path) {
    let unknown = match error.downcast_ref() {
        Some(instant_acme::Error::Api(problem)) => {
            problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
        }
        _ => false,
    };
    let file = directory.join(ACCOUNT_FILE);
    if unknown && let Err(error) = std::fs::remove_file(&file) {
        tracing::warn!(%error, "cannot remove {}", file.display());
    }
}

/// Proves the names and fetches a certificate for them: the chain and its key as PEM.
pub(super) async fn fulfil(
    account: &Account,
    names: &[String],
    challenge: Challenge,
    challenges: &Challenges,
) -> anyhow::Result<String> {
    let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    // What is answered to the authority's questions is taken back when this ends, however it ends.
    let mut proofs: Vec<Proof<'_>> = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => bail!("the authority calls an authorization {status:?}"),
        }
        let kind = challenge_type(challenge);
        let mut asked = authorization
            .challenge(kind)
            .with_context(|| format!("the authority offers no {challenge} challenge"))?;
        let answer = asked.key_authorization();
        let name = asked.identifier().to_string();
        proofs.push(match challenge {
            Challenge::Http01 => challenges.offer_token(&asked.token, answer.as_str()),
            Challenge::TlsAlpn01 => {
                challenges.offer_certificate(&name, answer.digest().as_ref())?
            }
        });
        asked.set_ready().await?;
    }
    let status = order.poll_ready(&patience()).await?;
    if status != OrderStatus::Ready {
        bail!("the names were not proved: the authority calls the order {status:?}");
    }
    drop(proofs);
    let (key, request) = make_key(names)?;
    order.finalize_csr(&request).await?;
    let chain = order.poll_certificate(&patience()).await?;
    Ok(format!("{chain}\n{key}"))
}
