//! The seals: what the chains cannot show, a stream's last event or a whole stream gone, and order
//! between streams.

use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::log::{LogEvent, LogSeals, SEAL_STREAM};
use cqrs_es::Aggregate;

use super::difference::EventName;
use super::snapshot::Snapshot;
use super::{Difference, Progress, Report, Stop, VerifyOptions, witness};
use crate::event_log::read;
use crate::event_log::seal::{self, RunningHash};

/// Seals read at a time.
const PAGE: i64 = 1_000;

/// Events of a broken stretch that are searched for a swap.
const SEARCHED: usize = 100_000;

pub(super) async fn check(
    snapshot: &mut Snapshot,
    options: &VerifyOptions,
    report: &mut Report,
) -> Result<(), Stop> {
    if let Some(cut_off) = witness::first_cut_off(&mut snapshot.connection).await? {
        return Err(cut_off.into());
    }
    let (mut sealed, mut sequence) = (LogSeals::default(), 0);
    let of = u64::try_from(snapshot.position).unwrap_or(0);
    loop {
        let page =
            read::read_stream(&mut snapshot.connection, LogSeals::TYPE, SEAL_STREAM, sequence, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        sequence = last.sequence;
        for stored in &page {
            let name = EventName::of(stored);
            let decoded = stored
                .decode()
                .map_err(|error| Difference::Unreadable { event: name.clone(), reason: error.to_string() })?;
            let AnyEvent::Log(seal) = decoded.event else { continue };
            check_seal(snapshot, &sealed, &seal, name).await?;
            sealed.apply(seal);
            report.seals += 1;
            report.sealed_up_to = sealed.up_to_position;
            let done = u64::try_from(sealed.up_to_position).unwrap_or(0);
            (options.progress)(Progress { step: "seals", done, of });
        }
    }
}

async fn check_seal(
    snapshot: &mut Snapshot,
    sealed: &LogSeals,
    seal: &LogEvent,
    event: EventName,
) -> Result<(), Stop> {
    let LogEvent::Sealed { after_position, up_to_position, event_count, running_hash } = seal;
    let (after, up_to) = (*after_position, *up_to_position);
    if after != sealed.up_to_position {
        return Err(Difference::SealOutOfOrder { event, expected_after: sealed.up_to_position }.into());
    }
    let (found_hash, found) =
        seal::hash_stretch(&mut snapshot.connection, &sealed.running_hash, after, up_to).await?;
    let expected = event_count - sealed.event_count;
    if found_hash == *running_hash && found == expected {
        return Ok(());
    }
    if found == expected
        && let Some(swap) = find_swap(snapshot, sealed, after, up_to, running_hash).await?
    {
        return Err(swap.into());
    }
    let (after_position, up_to_position) = (after, up_to);
    Err(Difference::SealBroken { after_position, up_to_position, sealed: expected, found }.into())
}

/// Two events that have changed places: ids are made in the order of time, so exactly two of them
/// stand where sorting would not put them, and the seal holds with the two put back.
async fn find_swap(
    snapshot: &mut Snapshot,
    sealed: &LogSeals,
    after: i64,
    up_to: i64,
    running_hash: &str,
) -> Result<Option<Difference>, Stop> {
    let limit = i64::try_from(SEARCHED).unwrap_or(i64::MAX);
    let events = read::read_after(&mut snapshot.connection, read::SHARD, after, limit).await?;
    let events: Vec<_> = events.into_iter().take_while(|event| event.position <= up_to).collect();
    let mut in_order: Vec<_> = events.iter().map(|event| event.event_id).collect();
    in_order.sort_unstable();
    let misplaced: Vec<usize> =
        (0..events.len()).filter(|&index| events[index].event_id != in_order[index]).collect();
    let [first, second] = misplaced[..] else { return Ok(None) };
    let mut running = RunningHash::after(&sealed.running_hash);
    for (index, event) in events.iter().enumerate() {
        let true_event = match index {
            index if index == first => &events[second],
            index if index == second => &events[first],
            _ => event,
        };
        running.add(event.position, &true_event.hash);
    }
    let (first, second) = (EventName::of(&events[first]), EventName::of(&events[second]));
    Ok((running.finish() == running_hash).then_some(Difference::Swapped { first, second }))
}
