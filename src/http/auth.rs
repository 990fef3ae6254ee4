//! Who is calling: from `Authorization: Bearer` or `x-api-key` to a principal, and whether that one may.
//!
//! A token is found by its keyed digest: in the operator's static tokens, then among the issued keys
//! (`known_keys.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use codexapi_aggregates::account::KeyKind;
use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::ids::{AccountId, KeyId};
use codexapi_projections::api_keys::PresentedKey;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ipnet::IpNet;
use sqlx::PgPool;

use super::address::ClientAddress;
use super::arrival::{self, Arrival};
use super::envelope::RequestId;
use super::error::Problem;
use super::known_keys::KnownKeys;
use super::per_call;
use crate::app::App;
use crate::clock;
use crate::config::CredentialSettings;
use crate::gateway::{KeyAccess, KeyRefusal};
use crate::secrets::{Token, TokenDigest, TokenDigestKey};

/// How long an operator's request may take: the longest waits for providers that are being checked.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(150);

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody, without credentials.
    Public,
    /// A customer, about the customer's own account.
    Customer,
    /// Whoever generations are billed to: a customer, or the operator.
    Payer,
    /// The same, for the routes that generate: the gateway checks the key's own limits itself.
    Generation,
    /// The operator's admin keys.
    Admin,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    Customer {
        account_id: AccountId,
        key_id: KeyId,
    },
    /// Generations are the operator's own cost.
    Operator {
        key_id: KeyId,
        name: String,
    },
    Admin {
        key_id: KeyId,
        name: String,
    },
}

impl Principal {
    /// What goes into the metadata of events this principal causes.
    pub fn metadata(&self, request_id: &RequestId) -> Metadata {
        let actor = match self {
            Self::Customer { account_id, .. } => format!("customer:{account_id}"),
            Self::Operator { key_id, .. } => format!("key:{key_id}"),
            Self::Admin { name, .. } => format!("operator:{name}"),
        };
        Metadata { actor, request_id: Some(request_id.0.clone()), cause: None }
    }

    pub fn key_id(&self) -> KeyId {
        match self {
            Self::Customer { key_id, .. } | Self::Operator { key_id, .. } | Self::Admin { key_id, .. } => {
                *key_id
            }
        }
    }

    /// Whether two tokens mean the same account; two keys of one customer do.
    fn is_same_account(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Customer { account_id: a, .. }, Self::Customer { account_id: b, .. }) => a == b,
            (Self::Operator { .. }, Self::Operator { .. }) | (Self::Admin { .. }, Self::Admin { .. }) => true,
            (Self::Customer { .. } | Self::Operator { .. } | Self::Admin { .. }, _) => false,
        }
    }
}

/// A caller and what the token it came with may be used for.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub principal: Principal,
    pub access: Arc<KeyAccess>,
}

impl Identity {
    /// Who holds an issued key.
    ///
    /// # Errors
    /// `Revoked`, or `Unavailable` where what was stored makes no sense.
    pub(super) fn of(presented: PresentedKey) -> Result<Self, AuthError> {
        let account_suspended = presented.is_suspended();
        let networks = presented.networks.iter().map(|network| network.parse::<IpNet>());
        let networks =
            networks.collect::<Result<_, _>>().map_err(|error| AuthError::Unavailable(error.into()))?;
        let key = presented.key;
        if !key.is_active() {
            return Err(AuthError::Revoked);
        }
        let key_id = KeyId(key.key_id);
        let access = Arc::new(KeyAccess { limits: key.limits, networks, account_suspended });
        let principal = match (key.kind, key.account_id) {
            (KeyKind::SystemToken | KeyKind::Api, Some(account)) => {
                Principal::Customer { account_id: AccountId(account), key_id }
            }
            (KeyKind::SystemToken | KeyKind::Api, None) => {
                return Err(AuthError::Unavailable(anyhow!("key {key_id} is a customer's and names none")));
            }
            (KeyKind::Operator, _) => Principal::Operator { key_id, name: key.prefix },
            (KeyKind::Admin, _) => Principal::Admin { key_id, name: key.prefix },
        };
        Ok(Self { principal, access })
    }
}

/// A customer's account, proven by a token; for handlers of `Audience::Customer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomerCaller {
    pub account_id: AccountId,
    pub key_id: KeyId,
}

/// Why a caller is turned away.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("no token was sent")]
    Missing,
    #[error("the authorization sent is no bearer token")]
    NotBearer,
    #[error("the token is unknown")]
    Unknown,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token has expired")]
    Expired,
    #[error("the token may not be used from the caller's network")]
    NotFromHere,
    #[error("two tokens of different accounts were sent")]
    Conflicting,
    #[error("the caller is no customer")]
    CustomersOnly,
    #[error("generations cannot be billed to the caller")]
    PayersOnly,
    #[error("the caller is no admin")]
    AdminsOnly,
    #[error("tokens cannot be looked up")]
    Unavailable(anyhow::Error),
}

/// Finds principals by their tokens.
pub struct Authenticator {
    digest_key: TokenDigestKey,
    static_tokens: HashMap<TokenDigest, Identity>,
    known: KnownKeys,
}

impl Authenticator {
    pub fn new(credentials: &CredentialSettings, pool: PgPool) -> Self {
        let digest_key = credentials.token_digest_key.clone();
        let operators = credentials.static_api_tokens.iter().enumerate().map(|(place, token)| {
            let (digest, key_id) = static_key(token, &digest_key);
            (digest, unlimited(Principal::Operator { key_id, name: format!("static-api-{}", place + 1) }))
        });
        let admins = credentials.static_admin_tokens.iter().enumerate().map(|(place, token)| {
            let (digest, key_id) = static_key(token, &digest_key);
            (digest, unlimited(Principal::Admin { key_id, name: format!("static-admin-{}", place + 1) }))
        });
        Self { static_tokens: operators.chain(admins).collect(), digest_key, known: KnownKeys::new(pool) }
    }

    /// Who is calling. Of two tokens the one that is ours counts.
    ///
    /// # Errors
    /// `Conflicting` where both are ours and mean different accounts.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, AuthError> {
        match (bearer(headers), x_api_key(headers)) {
            (None, None) if headers.contains_key(AUTHORIZATION) => Err(AuthError::NotBearer),
            (None, None) => Err(AuthError::Missing),
            (Some(token), None) | (None, Some(token)) => self.resolve(&token).await,
            (Some(bearer), Some(key)) if bearer == key => self.resolve(&bearer).await,
            (Some(bearer), Some(key)) => decide(self.resolve(&bearer).await, self.resolve(&key).await),
        }
    }

    async fn resolve(&self, token: &Token) -> Result<Identity, AuthError> {
        let digest = token.digest(&self.digest_key);
        if let Some(identity) = self.static_tokens.get(&digest) {
            return Ok(identity.clone());
        }
        self.known.find(digest).await
    }
}

impl AuthError {
    /// The same refusal for each of those who shared one look-up.
    pub(super) fn shared(error: &Self) -> Self {
        match error {
            Self::Missing => Self::Missing,
            Self::NotBearer => Self::NotBearer,
            Self::Unknown => Self::Unknown,
            Self::Revoked => Self::Revoked,
            Self::Expired => Self::Expired,
            Self::NotFromHere => Self::NotFromHere,
            Self::Conflicting => Self::Conflicting,
            Self::CustomersOnly => Self::CustomersOnly,
            Self::PayersOnly => Self::PayersOnly,
            Self::AdminsOnly => Self::AdminsOnly,
            Self::Unavailable(cause) => Self::Unavailable(anyhow!("{cause:#}")),
        }
    }
}

/// What the guard of one route needs.
#[derive(Clone)]
pub struct Guard {
    pub app: Arc<App>,
    pub audience: Audience,
}

/// Lets a request pass if its caller belongs to the route's audience, and ends one that takes too long.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    if guard.audience != Audience::Public {
        let admitted = guard.app.auth.authenticate(request.headers()).await;
        match admitted.and_then(|identity| admit(guard.audience, identity, &mut request)) {
            Ok(()) => {}
            Err(refusal) => return Problem::from(refusal).into_response(),
        }
    }
    // A generation has deadlines of its own, and its price as a line of its charge.
    match guard.audience {
        Audience::Generation => return next.run(request).await,
        Audience::Payer => return per_call::run(&guard.app, request, next).await,
        Audience::Public | Audience::Customer | Audience::Admin => {}
    }
    let limit = match guard.audience {
        Audience::Admin => ADMIN_TIMEOUT,
        _ => Duration::from_secs(guard.app.config.http.read_timeout_seconds),
    };
    let arrival = request.extensions().get::<Arrival>().cloned();
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) if arrival.is_some_and(|body| !body.is_complete()) => arrival::too_slow().into_response(),
        Err(_) => Problem::unavailable(anyhow!("no answer within {limit:?}")).into_response(),
    }
}

fn admit(audience: Audience, identity: Identity, request: &mut Request) -> Result<(), AuthError> {
    let Identity { principal, access } = identity;
    match (audience, &principal) {
        (Audience::Customer, Principal::Customer { account_id, key_id }) => {
            let caller = CustomerCaller { account_id: *account_id, key_id: *key_id };
            request.extensions_mut().insert(caller);
        }
        (Audience::Customer, Principal::Operator { .. } | Principal::Admin { .. }) => {
            return Err(AuthError::CustomersOnly);
        }
        (Audience::Generation | Audience::Payer, Principal::Admin { .. }) => {
            return Err(AuthError::PayersOnly);
        }
        (Audience::Admin, Principal::Customer { .. } | Principal::Operator { .. }) => {
            return Err(AuthError::AdminsOnly);
        }
        (Audience::Generation | Audience::Payer, Principal::Customer { .. } | Principal::Operator { .. })
        | (Audience::Admin, Principal::Admin { .. })
        | (Audience::Public, _) => {}
    }
    // The gateway says so itself, in the words that each client shows.
    if audience != Audience::Generation {
        let address = request.extensions().get::<ClientAddress>().and_then(|address| address.0);
        match access.check_key(address, clock::now()) {
            Ok(()) => {}
            Err(KeyRefusal::Expired) => return Err(AuthError::Expired),
            Err(KeyRefusal::NotFromHere) => return Err(AuthError::NotFromHere),
        }
    }
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(access);
    Ok(())
}

/// Of two tokens: the one that is ours, or a conflict.
fn decide(
    bearer: Result<Identity, AuthError>,
    key: Result<Identity, AuthError>,
) -> Result<Identity, AuthError> {
    match (bearer, key) {
        (Err(away @ AuthError::Unavailable(_)), _) | (_, Err(away @ AuthError::Unavailable(_))) => Err(away),
        (Ok(bearer), Ok(key)) if bearer.principal.is_same_account(&key.principal) => Ok(bearer),
        (Ok(_), Ok(_)) => Err(AuthError::Conflicting),
        (Ok(identity), Err(_)) | (Err(_), Ok(identity)) => Ok(identity),
        // "Revoked" says more than "unknown".
        (Err(AuthError::Unknown), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// A token from the configuration has no limits of its own.
fn unlimited(principal: Principal) -> Identity {
    Identity { principal, access: Arc::default() }
}

/// A static token's id, the same at every start and on every node.
fn static_key(token: &Token, digest_key: &TokenDigestKey) -> (TokenDigest, KeyId) {
    let digest = token.digest(digest_key);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    (digest, KeyId(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
}

fn bearer(headers: &HeaderMap) -> Option<Token> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token::presented(token.trim()))?
}

fn x_api_key(headers: &HeaderMap) -> Option<Token> {
    Token::presented(headers.get("x-api-key")?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use codexapi_aggregates::account::KeyLimits;
    use codexapi_aggregates::time::Timestamp;

    fn customer() -> Identity {
        let (account_id, key_id) = (AccountId(clock::new_id()), KeyId(clock::new_id()));
        unlimited(Principal::Customer { account_id, key_id })
    }

    #[test]
    fn of_two_tokens_the_one_that_is_ours_counts() {
        let ours = customer();
        assert_eq!(decide(Ok(ours.clone()), Err(AuthError::Unknown)).expect("ours"), ours);
        assert_eq!(decide(Err(AuthError::Revoked), Ok(ours.clone())).expect("ours"), ours);
        assert!(matches!(decide(Err(AuthError::Unknown), Err(AuthError::Revoked)), Err(AuthError::Revoked)));
    }

    #[test]
    fn tokens_of_different_accounts_conflict_and_two_keys_of_one_do_not() {
        let (a, b) = (customer(), customer());
        assert!(matches!(decide(Ok(a.clone()), Ok(b)), Err(AuthError::Conflicting)));
        let Principal::Customer { account_id, .. } = a.principal else { unreachable!("made above") };
        let same = unlimited(Principal::Customer { account_id, key_id: KeyId(clock::new_id()) });
        assert_eq!(decide(Ok(a.clone()), Ok(same)).expect("same"), a);
    }

    #[test]
    fn a_look_up_that_failed_is_never_taken_for_an_unknown_token() {
        let away = || Err(AuthError::Unavailable(anyhow!("away")));
        assert!(matches!(decide(Ok(customer()), away()), Err(AuthError::Unavailable(_))));
        assert!(matches!(decide(away(), Err(AuthError::Unknown)), Err(AuthError::Unavailable(_))));
    }

    #[test]
    fn tokens_are_read_from_both_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "bearer cdx-one".parse().expect("a header"));
        headers.insert("x-api-key", "cdx-two".parse().expect("a header"));
        assert_eq!(bearer(&headers), Token::presented("cdx-one"));
        assert_eq!(x_api_key(&headers), Token::presented("cdx-two"));
        headers.insert(AUTHORIZATION, "Basic cdx-one".parse().expect("a header"));
        assert_eq!(bearer(&headers), None);
    }

    #[test]
    fn an_expired_key_is_refused_but_where_the_gateway_says_so_itself() {
        let limits = KeyLimits { expires_at: Some(Timestamp(1)), ..KeyLimits::default() };
        let expired = || Identity {
            access: Arc::new(KeyAccess { limits: limits.clone(), ..KeyAccess::default() }),
            ..customer()
        };
        let admitted = |audience| admit(audience, expired(), &mut Request::default());
        assert!(matches!(admitted(Audience::Customer), Err(AuthError::Expired)));
        assert!(matches!(admitted(Audience::Payer), Err(AuthError::Expired)));
        assert!(admitted(Audience::Generation).is_ok());
    }

    #[test]
    fn each_audience_admits_only_its_own() {
        let key_id = KeyId(uuid::Uuid::nil());
        let operator = || unlimited(Principal::Operator { key_id, name: "o".into() });
        let admin = || unlimited(Principal::Admin { key_id, name: "a".into() });
        let admitted = |audience, principal| admit(audience, principal, &mut Request::default()).is_ok();
        let audiences = [Audience::Customer, Audience::Payer, Audience::Generation, Audience::Admin];
        assert_eq!(audiences.map(|audience| admitted(audience, customer())), [true, true, true, false]);
        assert_eq!(audiences.map(|audience| admitted(audience, operator())), [false, true, true, false]);
        assert_eq!(audiences.map(|audience| admitted(audience, admin())), [false, false, false, true]);
    }
}
