//! From a request to a durable hold: parse, quote, estimate, wait, hold.

use bytes::Bytes;
use codexapi_aggregates::ids::{AccountId, GenerationId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::tariff::Quote;
use codexapi_aggregates::pricing::{BOOK_STREAM, PriceBook};
use codexapi_aggregates::usage::{BillingPolicy, InputPrefix, Payer, TokenUsage};
use codexapi_aggregates::wallet::{
    HoldLimits, PlaceHold, Wallet, WalletAction, WalletCommand, WalletEvent, WalletRefusal,
};
use codexapi_protocols::client;
use codexapi_protocols::headers::forwarded_request;
use codexapi_protocols::meter::MeterSettings;
use codexapi_protocols::request::ParsedRequest;
use http::HeaderMap;

use super::admission::{Asked, NotAdmitted};
use super::generation::Generation;
use super::refusal::{Caller, GatewayError};
use super::{Answer, Gateway, Incoming};
use crate::commands::CommandError;
use crate::upstream::Target;
use crate::{clock, crash_points};

/// What is sent to the provider, ready.
pub(super) struct UpstreamRequest {
    pub headers: HeaderMap,
    pub query: Option<String>,
    pub body: Bytes,
    pub meter: MeterSettings,
}

/// Beyond any model's: what a request may name as its limit is bounded, and so is the worst case.
const MOST_OUTPUT_TOKENS: u64 = 10_000_000;

/// How beginning a generation ended.
pub(super) enum Begun {
    /// The hold is durable; the generation must now be settled or released.
    Held(Box<Generation>, UpstreamRequest),
    Refused(GatewayError, Caller),
    ClientLeft,
}

/// What the price book and the providers say of the model.
struct Offer {
    target: Target,
    quote: Quote,
    context_tokens: u64,
    max_output_tokens: u64,
}

impl Gateway {
    pub(super) async fn begin(&self, incoming: Incoming, mut caller: Caller, answer: &mut Answer) -> Begun {
        let parsed = match ParsedRequest::parse(incoming.protocol, &incoming.body) {
            Ok(parsed) => parsed,
            Err(bad) => {
                let error = GatewayError::BadRequest { message: bad.to_string(), field: bad.field() };
                return Begun::Refused(error, caller);
            }
        };
        caller.streaming = parsed.stream;
        caller.model = parsed.model.clone();
        match self.try_begin(incoming, parsed, &caller, answer).await {
            Ok(Some((generation, request))) => Begun::Held(Box::new(generation), request),
            Ok(None) => Begun::ClientLeft,
            Err(error) => Begun::Refused(error, caller),
        }
    }

    async fn try_begin(
        &self,
        incoming: Incoming,
        parsed: ParsedRequest,
        caller: &Caller,
        answer: &mut Answer,
    ) -> Result<Option<(Generation, UpstreamRequest)>, GatewayError> {
        if self.settlements.is_nearly_full() || self.tasks.is_closed() {
            return Err(GatewayError::Busy);
        }
        let offer = self.offer(&parsed, caller).await?;
        let generation_id = GenerationId(clock::new_id());
        let family = caller.family;
        let policy = self.settings.policy(family);
        let conversation =
            client::conversation_id(family, &incoming.headers, parsed.prompt_cache_key.as_deref());
        let usage_stream = self.usage_stream(incoming.payee.payer(), conversation.as_deref(), generation_id);
        let prefix = (policy == BillingPolicy::Delta && conversation.is_some())
            .then(|| parsed.prefix(&self.settings.conversation_key));
        let input_tokens = parsed.estimate.total_tokens();
        let one_answer = parsed.max_output_tokens.unwrap_or(offer.max_output_tokens).min(MOST_OUTPUT_TOKENS);
        let max_output_tokens = one_answer * parsed.choices;
        let hold = PlaceHold {
            generation_id,
            key_id: incoming.payee.key_id(),
            family,
            input_tokens,
            already_billed_tokens: self.already_billed(&usage_stream, &offer.quote, prefix.as_ref()).await?,
            cached_tokens: self.recently_sent(&usage_stream, input_tokens),
            max_output_tokens,
            quote: offer.quote.clone(),
            limits: HoldLimits::default(),
            attempt: Generation::attempt(&offer.target),
            node: self.settings.node,
        };
        let metadata = incoming.payee.metadata(&incoming.request_id);
        let mut generation = Generation {
            id: generation_id,
            caller: caller.clone(),
            payer: incoming.payee.payer(),
            key_id: incoming.payee.key_id(),
            family,
            metadata,
            usage_stream,
            own_stream: conversation.is_none(),
            target: offer.target,
            quote: offer.quote,
            policy,
            prefix,
            input_tokens,
            ceiling_tokens: offer.context_tokens + max_output_tokens,
            worst_micro: MicroUsd(i64::MAX),
            arrived: incoming.arrived,
            held_ms: 0,
        };
        match self.hold(&generation, hold, answer).await? {
            Some(worst_micro) => generation.worst_micro = worst_micro,
            None => return Ok(None),
        }
        crash_points::reached(crash_points::HOLD_COMMITTED);
        generation.held_ms = generation.elapsed_ms();
        let request = UpstreamRequest {
            headers: forwarded_request(incoming.protocol, &incoming.headers),
            query: incoming.query,
            body: parsed.forward_body(&generation.target.upstream_model),
            meter: MeterSettings { choices: parsed.choices, include_usage: parsed.include_usage },
        };
        Ok(Some((generation, request)))
    }

    /// The model's card in force and a provider that sells it over this protocol.
    async fn offer(&self, parsed: &ParsedRequest, caller: &Caller) -> Result<Offer, GatewayError> {
        let label = parsed.model.as_str();
        let Some(target) = self.providers.target(label, caller.protocol) else {
            return Err(match self.providers.sells(label) {
                true => GatewayError::WrongEndpoint { model: label.to_owned() },
                false => self.unknown_model(label).await?,
            });
        };
        let now = clock::now();
        let card = self.log.read(BOOK_STREAM, |book: &PriceBook| {
            let card = book.card(&target.model, now)?;
            Some((book.quote(&target.model, now)?, card.context_tokens, card.max_output_tokens))
        });
        match card.await.map_err(unavailable)? {
            Some((quote, context_tokens, max_output_tokens)) => {
                Ok(Offer { target, quote, context_tokens, max_output_tokens })
            }
            None => Err(self.unknown_model(label).await?),
        }
    }

    async fn unknown_model(&self, model: &str) -> Result<GatewayError, GatewayError> {
        let available = self.models_on_sale().await.map_err(unavailable)?.join(", ");
        Ok(GatewayError::UnknownModel { model: model.to_owned(), available })
    }

    /// Models that have a card in force and a provider, by name.
    pub async fn models_on_sale(&self) -> anyhow::Result<Vec<String>> {
        let now = clock::now();
        let priced: Vec<String> = self
            .log
            .read(BOOK_STREAM, |book: &PriceBook| {
                book.cards_in_force(now).map(|card| card.model.clone()).collect()
            })
            .await?;
        let provided = self.providers.models();
        Ok(priced.into_iter().filter(|model| provided.contains(model.as_str())).collect())
    }

    /// One stream per conversation of a payer, else per generation. The conversation's id is the
    /// client's and stands in the log as a keyed digest only.
    fn usage_stream(&self, payer: Payer, conversation: Option<&str>, generation_id: GenerationId) -> String {
        let payer = match payer {
            Payer::Wallet { account_id } => account_id.to_string(),
            Payer::Operator => "operator".to_owned(),
        };
        match conversation {
            Some(conversation) => {
                let digest = blake3::keyed_hash(&self.settings.conversation_key, conversation.as_bytes());
                format!("{payer}:{}", &digest.to_hex()[..32])
            }
            None => format!("{payer}:{generation_id}"),
        }
    }

    async fn already_billed(
        &self,
        usage_stream: &str,
        quote: &Quote,
        prefix: Option<&InputPrefix>,
    ) -> Result<u64, GatewayError> {
        let Some(prefix) = prefix else { return Ok(0) };
        self.log
            .read(usage_stream, |usage: &TokenUsage| usage.already_billed(&quote.model, prefix))
            .await
            .map_err(unavailable)
    }

    /// What this conversation sent in the last minutes, which the provider probably still has cached.
    fn recently_sent(&self, usage_stream: &str, input_tokens: u64) -> u64 {
        let before = self.recent_inputs.get(usage_stream).unwrap_or(0);
        self.recent_inputs.insert(usage_stream.to_owned(), input_tokens);
        before.min(input_tokens)
    }

    /// Makes the generation durable before anything of it leaves; returns the most an estimate may
    /// cost, or `None` where the client left while it waited.
    async fn hold(
        &self,
        generation: &Generation,
        hold: PlaceHold,
        answer: &mut Answer,
    ) -> Result<Option<MicroUsd>, GatewayError> {
        match generation.payer {
            Payer::Wallet { account_id } => self.hold_credit(generation, account_id, hold, answer).await,
            Payer::Operator => {
                let PlaceHold { generation_id, key_id, attempt, .. } = hold;
                self.log
                    .execute(&generation.usage_stream, &generation.metadata, |usage: &TokenUsage, now| {
                        usage.open(generation_id, key_id, attempt.clone(), now)
                    })
                    .await
                    .map_err(not_durable)?;
                Ok(Some(MicroUsd(i64::MAX)))
            }
        }
    }

    async fn hold_credit(
        &self,
        generation: &Generation,
        account_id: AccountId,
        hold: PlaceHold,
        answer: &mut Answer,
    ) -> Result<Option<MicroUsd>, GatewayError> {
        let wallet_stream = account_id.to_string();
        let ask = || async {
            let placed = self
                .log
                .execute(&wallet_stream, &generation.metadata, |wallet: &Wallet, now| {
                    let action = WalletAction::PlaceHold(Box::new(hold.clone()));
                    wallet.decide(WalletCommand { action, terms: self.settings.terms.clone(), now })
                })
                .await;
            match placed {
                Ok(committed) => Asked::Admitted(worst_of(&committed.events)),
                Err(CommandError::Refused(WalletRefusal::MustWait { .. })) => Asked::MustWait,
                Err(CommandError::Refused(refusal)) => Asked::Refused(refused(&refusal)),
                Err(error) => Asked::Refused(not_durable(error)),
            }
        };
        match self.admission.admit(account_id, answer.closed(), ask).await {
            Ok(worst_micro) => Ok(Some(worst_micro)),
            Err(NotAdmitted::ClientLeft) => Ok(None),
            Err(NotAdmitted::Refused(error)) => Err(error),
            Err(NotAdmitted::StillWaiting) => {
                let running = self
                    .log
                    .read(&wallet_stream, |wallet: &Wallet| wallet.open_holds().count())
                    .await
                    .map_err(unavailable)?;
                Err(GatewayError::StillWaiting { running })
            }
        }
    }
}

fn worst_of(events: &[WalletEvent]) -> MicroUsd {
    events
        .iter()
        .find_map(|event| match event {
            WalletEvent::HoldPlaced { worst_micro, .. } => Some(*worst_micro),
            _ => None,
        })
        .expect("placing a hold always emits it")
}

fn refused(refusal: &WalletRefusal) -> GatewayError {
    match refusal {
        WalletRefusal::InsufficientCredit { available, requested } => {
            GatewayError::InsufficientCredit { available: *available, requested: *requested }
        }
        WalletRefusal::MustWait { .. }
        | WalletRefusal::HoldExists { .. }
        | WalletRefusal::UnknownHold { .. }
        | WalletRefusal::GrantExists { .. }
        | WalletRefusal::UnknownGrant { .. }
        | WalletRefusal::AmountOutOfRange { .. }
        | WalletRefusal::ExpiresInThePast
        | WalletRefusal::TooManyGrants { .. }
        | WalletRefusal::AttemptOutOfOrder { .. }
        | WalletRefusal::TooManyAttempts { .. }
        | WalletRefusal::RequestsPerMinute { .. }
        | WalletRefusal::TokensPerMinute { .. }
        | WalletRefusal::LargerThanTokensPerMinute { .. }
        | WalletRefusal::ParallelRequests { .. }
        | WalletRefusal::DailyBudget { .. }
        | WalletRefusal::MonthlyBudget { .. } => {
            tracing::error!(%refusal, "a hold was refused for a reason that holds do not have");
            GatewayError::Internal
        }
    }
}

fn not_durable<R: std::error::Error>(error: CommandError<R>) -> GatewayError {
    tracing::warn!(%error, "a hold could not be made durable");
    GatewayError::StoreUnavailable
}

fn unavailable(error: anyhow::Error) -> GatewayError {
    tracing::warn!(error = %format!("{error:#}"), "the event log could not be read");
    GatewayError::StoreUnavailable
}

impl Caller {
    /// What is known of the caller before its body is parsed.
    pub fn unparsed(
        protocol: codexapi_aggregates::usage::Protocol,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Self {
        Self {
            protocol,
            family: client::family(headers),
            streaming: false,
            model: String::new(),
            request_id: request_id.to_owned(),
        }
    }
}
