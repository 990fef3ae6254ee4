//! From a request to a durable hold: parse, quote, estimate, wait, hold.

use std::time::Duration;

use codexapi_aggregates::cash::CashWallet;
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog};
use codexapi_aggregates::ids::GenerationId;
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::pricing::tariff::Quote;
use codexapi_aggregates::pricing::{BOOK_STREAM, FamilyPolicies, PriceBook, RateCard};
use codexapi_aggregates::routing::{Ask, POLICY_STREAM, Plan, RoutingPolicy};
use codexapi_aggregates::usage::{ClientFamily, Payer, Protocol, TokenUsage};
use codexapi_aggregates::wallet::PlaceHold;
use codexapi_protocols::client;
use codexapi_protocols::request::ParsedRequest;
use codexapi_protocols::translate::AnswerFrame;
use http::HeaderMap;

use super::asked::Asked;
use super::generation::Generation;
use super::refusal::{Caller, GatewayError};
use super::routing::{Leg, Route};
use super::told::{KeyHeadroom, is_cost_asked_for};
use super::{Answer, Gateway, Incoming};
use crate::commands::CommandError;
use crate::{clock, crash_points};

/// How long a generation may take, and how long its provider may be silent, where the policy does not say.
const LONGEST_GENERATION: Duration = Duration::from_secs(3_600);
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// Beyond any model's: what a request may name as its limit is bounded, and so is the worst case.
const MOST_OUTPUT_TOKENS: u64 = 10_000_000;

/// How beginning a generation ended.
pub(super) enum Begun {
    /// The hold is durable; the generation must now be settled or released.
    Held(Box<Held>),
    Refused(GatewayError, Caller),
    ClientLeft,
}

/// A generation whose hold is durable, with everything that is needed to serve it.
pub(super) struct Held {
    pub generation: Generation,
    pub asked: Asked,
    pub route: Route,
    pub leg: Leg,
}

/// What the price book says of the model asked for and the one that serves.
struct Offer {
    quote: Quote,
    policies: FamilyPolicies,
    context_tokens: u64,
    max_output_tokens: u64,
}

impl Gateway {
    pub(super) async fn begin(
        &self,
        mut incoming: Incoming,
        mut caller: Caller,
        answer: &mut Answer,
    ) -> Begun {
        let read = incoming.parsed.take().map(Ok);
        let mut parsed = match read.unwrap_or_else(|| ParsedRequest::parse(incoming.protocol, &incoming.body))
        {
            Ok(parsed) => parsed,
            Err(bad) => {
                let field = bad.field().map(str::to_owned);
                return Begun::Refused(GatewayError::BadRequest { message: bad.to_string(), field }, caller);
            }
        };
        if is_cost_asked_for(&incoming.headers) {
            parsed = parsed.asking_for_usage();
        }
        caller.streaming = parsed.stream && incoming.admitted.is_none();
        caller.model = parsed.model.clone();
        match self.try_begin(incoming, parsed, &caller, answer).await {
            Ok(Some(held)) => Begun::Held(Box::new(held)),
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
    ) -> Result<Option<Held>, GatewayError> {
        if self.settlements.is_nearly_full() || self.tasks.is_closed() {
            return Err(GatewayError::Busy);
        }
        if incoming.checked.is_none() {
            self.door(&incoming).await?;
        }
        let plan = self.plan(&incoming, &parsed.model).await?;
        incoming.access.check_model(&parsed.model, &plan.model)?;
        let (plan, surge) = self.by_toolbox(&incoming, plan).await?;
        let offer = self.offer(&plan, &parsed.model, caller.family).await?;

        let generation_id = GenerationId(clock::new_id());
        let conversation =
            client::conversation_id(caller.family, &incoming.headers, parsed.prompt_cache_key.as_deref());
        let usage_stream = self.usage_stream(incoming.payee.payer(), conversation.as_deref(), generation_id);
        let prefix = (offer.policies.ask_what_was_billed() && conversation.is_some())
            .then(|| parsed.prefix(&self.settings.conversation_key));
        let mut route = self.route(plan, &usage_stream, parsed.stream, incoming.checked.is_some());
        let asked = asked(&incoming, parsed, generation_id, &offer);
        let leg = self.next_leg(&mut route, &asked)?;

        let input_tokens = asked.parsed.estimate.total_tokens();
        let max_output_tokens = most_output(&asked.parsed, &offer);
        let (payer, key_id) = (incoming.payee.payer(), incoming.payee.key_id());
        let mut generation = Generation {
            id: generation_id,
            caller: caller.clone(),
            payer,
            key_id,
            metadata: incoming.payee.metadata(&incoming.request_id),
            own_stream: conversation.is_none(),
            target: leg.target.clone(),
            failed_attempts: Vec::new(),
            policy: offer.policies.of(None),
            prefix,
            input_tokens,
            ceiling_tokens: offer.context_tokens + max_output_tokens,
            worst_micro: MicroUsd(i64::MAX),
            balance_micro: None,
            by_plan: false,
            limits: KeyHeadroom::default(),
            deadline: incoming.arrived + deadline_of(&route),
            idle: idle_of(&route),
            arrived: incoming.arrived,
            held_ms: 0,
            dispatched_ms: 0,
            client_left_at: None,
            wants_cost: is_cost_asked_for(&incoming.headers),
            notice: surge.map(|surge| self.notice(&surge, &offer.quote, &incoming, &usage_stream)),
            quote: offer.quote,
            usage_stream,
        };
        let hold = PlaceHold {
            generation_id,
            key_id,
            family: caller.family,
            input_tokens,
            already_billed_tokens: self.already_billed(&generation).await?,
            policies: offer.policies,
            cash_debt_micro: self.cash_debt(payer).await?,
            cached_tokens: self.recently_sent(&generation),
            max_output_tokens,
            quote: generation.quote.clone(),
            attempt: generation.attempt(),
            node: self.settings.node,
            limits: incoming.access.hold_limits(),
            fair_use: self.log.read(CATALOG_STREAM, Catalog::fair_use).await.map_err(unavailable)?,
        };
        if !self.hold(&mut generation, hold, answer).await? {
            return Ok(None);
        }
        crash_points::reached(crash_points::HOLD_COMMITTED);
        generation.held_ms = generation.elapsed_ms();
        if let Some(admitted) = &incoming.admitted {
            admitted.notify_one();
        }
        Ok(Some(Held { generation, asked, route, leg }))
    }

    /// The prices of the model the label means, with what the serving model costs us.
    async fn offer(&self, plan: &Plan, label: &str, family: ClientFamily) -> Result<Offer, GatewayError> {
        let now = clock::now();
        let offer = self.log.read(BOOK_STREAM, |book: &PriceBook| {
            let quote = book.quote_served(&plan.model, &plan.served_model, now)?;
            let cards = [&plan.model, &plan.served_model].map(|model| book.card(model, now));
            let most = |of: fn(&RateCard) -> u64| cards.iter().flatten().map(|card| of(card)).max();
            Some(Offer {
                quote,
                policies: book.family_policies(family),
                context_tokens: most(|card| card.context_tokens)?,
                max_output_tokens: most(|card| card.max_output_tokens)?,
            })
        });
        match offer.await.map_err(unavailable)? {
            Some(offer) => Ok(offer),
            None => Err(self.unknown_model(label).await?),
        }
    }

    pub(super) async fn unknown_model(&self, model: &str) -> Result<GatewayError, GatewayError> {
        let available = self.models_on_sale().await.map_err(unavailable)?.join(", ");
        Ok(GatewayError::UnknownModel { model: model.to_owned(), available })
    }

    /// The model on sale that a client's name means: its own name, its label or an alias.
    pub async fn sold_as(&self, label: &str) -> anyhow::Result<Option<String>> {
        let catalog = self.providers.catalog();
        let model: Option<String> = self
            .log
            .read(POLICY_STREAM, |policy: &RoutingPolicy| policy.resolve(catalog, label).map(str::to_owned))
            .await?;
        let Some(model) = model else { return Ok(None) };
        Ok(self.models_on_sale().await?.contains(&model).then_some(model))
    }

    /// Models that have a card in force, a provider, and are not switched off; by name.
    pub async fn models_on_sale(&self) -> anyhow::Result<Vec<String>> {
        let now = clock::now();
        let priced: Vec<String> = self
            .log
            .read(BOOK_STREAM, |book: &PriceBook| {
                book.cards_in_force(now).map(|card| card.model.clone()).collect()
            })
            .await?;
        let (catalog, region) = (self.providers.catalog(), self.settings.region.as_ref());
        self.log
            .read(POLICY_STREAM, |policy: &RoutingPolicy| {
                let served = |model: &String| {
                    policy.plan(catalog, &Ask { label: model, client: Protocol::Responses, region }).is_ok()
                };
                priced.iter().filter(|model| served(model)).cloned().collect()
            })
            .await
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

    async fn already_billed(&self, generation: &Generation) -> Result<u64, GatewayError> {
        let Some(prefix) = &generation.prefix else { return Ok(0) };
        self.log
            .read(&generation.usage_stream, |usage: &TokenUsage| {
                usage.already_billed(&generation.quote.model, prefix)
            })
            .await
            .map_err(unavailable)
    }

    async fn cash_debt(&self, payer: Payer) -> Result<MicroUsd, GatewayError> {
        match payer {
            Payer::Wallet { account_id } => {
                self.log.read(&account_id.to_string(), CashWallet::debt).await.map_err(unavailable)
            }
            Payer::Operator => Ok(MicroUsd::ZERO),
        }
    }

    /// What this conversation sent in the last minutes, which the provider probably still has cached.
    fn recently_sent(&self, generation: &Generation) -> u64 {
        let Generation { usage_stream, input_tokens, own_stream, .. } = generation;
        if *own_stream {
            return 0;
        }
        let before = self.recent_inputs.get(usage_stream).unwrap_or(0);
        self.recent_inputs.insert(usage_stream.clone(), *input_tokens);
        before.min(*input_tokens)
    }
}

fn asked(incoming: &Incoming, parsed: ParsedRequest, id: GenerationId, offer: &Offer) -> Asked {
    Asked {
        headers: incoming.headers.clone(),
        query: incoming.query.clone(),
        frame: AnswerFrame {
            id: id.0.simple().to_string(),
            model: parsed.model.clone(),
            created_at_secs: clock::now().0 / 1_000_000,
        },
        max_output_tokens: offer.max_output_tokens,
        parsed,
    }
}

/// Output tokens of all answers asked for.
fn most_output(parsed: &ParsedRequest, offer: &Offer) -> u64 {
    parsed.max_output_tokens.unwrap_or(offer.max_output_tokens).min(MOST_OUTPUT_TOKENS) * parsed.choices
}

fn deadline_of(route: &Route) -> Duration {
    route.plan.deadline_secs.map_or(LONGEST_GENERATION, |secs| Duration::from_secs(secs.into()))
}

fn idle_of(route: &Route) -> Duration {
    route.plan.idle_secs.map_or(LONGEST_SILENCE, |secs| Duration::from_secs(secs.into()))
}

pub(super) fn not_durable<R: std::error::Error>(error: CommandError<R>) -> GatewayError {
    tracing::warn!(%error, "a hold could not be made durable");
    GatewayError::StoreUnavailable
}

pub(super) fn unavailable(error: anyhow::Error) -> GatewayError {
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
