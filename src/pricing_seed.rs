//! From a price list to the price book: fills an empty book at start, publishes a list when told to.
//!
//! A start never changes a price that is in force. A file that was edited, or one that an operator's command has
//! since overruled, must not re-price customers because a process happened to restart.

use codexapi_aggregates::event::Metadata;
use codexapi_aggregates::pricing::{
    BOOK_STREAM, PriceBook, PricingCommand, PricingEvent, PricingRefusal, PublishRateCard,
};
use codexapi_aggregates::time::Timestamp;
use cqrs_es::Aggregate;

use crate::commands::CommandError;
use crate::config::prices::PriceList;
use crate::event_log::EventLog;

/// A card that was put into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedCard {
    pub model: String,
    pub version: u32,
}

/// Publishes the whole list if the book holds no card; otherwise changes nothing.
pub async fn fill_empty_book(
    log: &EventLog,
    prices: &PriceList,
) -> Result<Vec<PublishedCard>, CommandError<PricingRefusal>> {
    let metadata = Metadata::process("price_list");
    let committed = log
        .execute(BOOK_STREAM, &metadata, |book: &PriceBook, now| {
            if *book == PriceBook::default() {
                publish_all(book, prices.commands(now, now))
            } else {
                Ok(vec![])
            }
        })
        .await?;
    Ok(published(&committed.events))
}

/// Publishes every card that differs from the one in force, all in one append, from `effective_at` on, or at once.
pub async fn publish(
    log: &EventLog,
    metadata: &Metadata,
    prices: &PriceList,
    effective_at: Option<Timestamp>,
) -> Result<Vec<PublishedCard>, CommandError<PricingRefusal>> {
    let committed = log
        .execute(BOOK_STREAM, metadata, |book: &PriceBook, now| {
            publish_all(book, prices.commands(effective_at.unwrap_or(now), now))
        })
        .await?;
    Ok(published(&committed.events))
}

fn publish_all(
    book: &PriceBook,
    commands: Vec<PublishRateCard>,
) -> Result<Vec<PricingEvent>, PricingRefusal> {
    let mut book = book.clone();
    let mut events = Vec::new();
    for command in commands {
        for event in book.decide(PricingCommand::Publish(Box::new(command)))? {
            book.apply(event.clone());
            events.push(event);
        }
    }
    Ok(events)
}

fn published(events: &[PricingEvent]) -> Vec<PublishedCard> {
    let card = |event: &PricingEvent| match event {
        PricingEvent::RateCardPublished { card, .. } => {
            Some(PublishedCard { model: card.model.clone(), version: card.version })
        }
        _ => None,
    };
    events.iter().filter_map(card).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_the_same_list_again_changes_nothing() {
        let prices = PriceList::built_in();
        let mut book = PriceBook::default();
        let first = publish_all(&book, prices.commands(Timestamp(5), Timestamp(5))).expect("published");
        assert_eq!(published(&first).len(), prices.models().count());
        first.into_iter().for_each(|event| book.apply(event));
        assert_eq!(publish_all(&book, prices.commands(Timestamp(9), Timestamp(9))), Ok(vec![]));
    }
}
